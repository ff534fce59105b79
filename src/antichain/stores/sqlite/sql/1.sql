-- Format 1 of a store. What is here is in files of users: change it by a next step, never here.
-- Everything that is read is checked against the column "proof": eight bytes of BLAKE2b over all that the row says.

-- AUTOINCREMENT: the number of a removed run is never used again, so that nobody who held it can write into another.
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL UNIQUE,
    graph TEXT NOT NULL,
    target TEXT NOT NULL,
    created_at REAL NOT NULL,
    -- As a payload of a fact.
    inputs NOT NULL,
    wiring NOT NULL,
    proof INTEGER NOT NULL,
    -- The number of the last owner, and who that was: host, process, start of the process.
    epoch INTEGER NOT NULL,
    owner TEXT NOT NULL,
    -- The sum of its facts when it was last opened or released: facts, ended, updated_at, succeeded, bytes of payloads.
    facts INTEGER NOT NULL,
    ended TEXT NOT NULL,
    updated_at REAL NOT NULL,
    succeeded INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    -- Over the columns from epoch on.
    state_proof INTEGER NOT NULL
);

CREATE TABLE fact (
    -- The run's id times 2 to the 32nd, plus the number of the fact in its run, from 1.
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- A text, or the number of the earlier fact of this run that has the same.
    node NOT NULL,
    reason NOT NULL,
    fingerprint NOT NULL,
    at REAL NOT NULL,
    seconds REAL NOT NULL,
    until REAL NOT NULL,
    -- NULL, bytes, or the id of a blob.
    payload,
    proof INTEGER NOT NULL
);

-- Which runs still need a blob.
CREATE INDEX fact_blob ON fact (payload) WHERE typeof(payload) = 'integer';

-- Large payloads, each content once.
CREATE TABLE blob (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 BLOB NOT NULL UNIQUE,
    data BLOB NOT NULL
);
