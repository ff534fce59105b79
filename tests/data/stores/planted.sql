-- What somebody may do to a store, each to a copy of its own: a name, then statements. Read by tests/test_store_damage.py.
-- The id of a fact is the id of its run times 2 to the 32nd plus its number: 4294967296 + 4 is the fourth of the first run.

-- tables: a trigger that rewrites what is there
CREATE TRIGGER t AFTER INSERT ON fact BEGIN UPDATE fact SET payload = x'00' WHERE id < new.id; END;

-- tables: a trigger before an insert
CREATE TRIGGER t BEFORE INSERT ON fact BEGIN SELECT RAISE(IGNORE); END;

-- tables: a trigger on runs
CREATE TRIGGER t AFTER UPDATE ON run BEGIN DELETE FROM fact; END;

-- tables: a trigger on deletes
CREATE TRIGGER t AFTER DELETE ON blob BEGIN DELETE FROM fact; END;

-- tables: a trigger that never ends
CREATE TRIGGER t AFTER INSERT ON fact BEGIN SELECT max(x) FROM (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n); END;

-- tables: a view
CREATE VIEW v AS SELECT 1;

-- tables: a view that never ends
CREATE VIEW v AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n;

-- tables: a view in place of a table
ALTER TABLE fact RENAME TO kept;
CREATE VIEW fact AS SELECT * FROM kept;

-- tables: a view that never ends in place of a table
DROP TABLE blob;
CREATE VIEW blob AS SELECT x AS id, x AS sha256, x AS data FROM (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n);

-- tables: a table
CREATE TABLE more (x);

-- tables: a table with our first letters
CREATE TABLE fact2 (x);

-- tables: a table less
DROP TABLE blob;

-- tables: all tables away
DROP TABLE blob;
DROP TABLE fact;
DROP TABLE run;

-- tables: an index
CREATE INDEX i ON fact (node);

-- tables: an index over a function
CREATE INDEX i ON fact (abs(kind));

-- tables: an index less
DROP INDEX fact_blob;

-- tables: another index of that name
DROP INDEX fact_blob;
CREATE INDEX fact_blob ON fact (payload);

-- tables: a column
ALTER TABLE fact ADD COLUMN more;

-- tables: a column with a default
ALTER TABLE run ADD COLUMN more DEFAULT 7;

-- tables: a generated column
ALTER TABLE fact ADD COLUMN more AS (abs(kind)) VIRTUAL;

-- tables: a column with another name
ALTER TABLE fact RENAME COLUMN node TO path;

-- tables: statistics
ANALYZE;

-- tables: a virtual table
CREATE VIRTUAL TABLE f USING fts5(x);

-- tables: a table with a check
DROP TABLE blob;
CREATE TABLE blob (id INTEGER PRIMARY KEY, sha256, data CHECK (abs(1) = 1));

-- tables: a table without numbers of rows
DROP TABLE blob;
CREATE TABLE blob (id INTEGER PRIMARY KEY, sha256, data) WITHOUT ROWID;

-- tables: another text of a table
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = replace(sql, 'payload', 'payloae') WHERE name = 'fact';

-- tables: a function in the text of a table
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = replace(sql, 'payload,', 'payload DEFAULT (randomblob(10)),') WHERE name = 'fact';

-- tables: tables that have changed places
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET rootpage = CASE name WHEN 'fact' THEN (SELECT rootpage FROM sqlite_master WHERE name = 'blob') ELSE (SELECT rootpage FROM sqlite_master WHERE name = 'fact') END WHERE name IN ('fact', 'blob');

-- tables: a table in the place of an index
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'fact_blob') WHERE name = 'fact';

-- tables: a table far behind the end
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET rootpage = 99999 WHERE name = 'fact';

-- tables: text that is no SQL
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = 'CREATE TABLE fact (' WHERE name = 'fact';

-- tables: another program's file
PRAGMA application_id = 7;

-- tables: no program's file
PRAGMA application_id = 0;

-- tables: format 0
PRAGMA user_version = 0;

-- tables: format 2
PRAGMA user_version = 2;

-- tables: format 2147483647
PRAGMA user_version = 2147483647;

-- tables: format -1
PRAGMA user_version = -1;

-- rows: payloads that have changed places
UPDATE fact SET payload = CASE id WHEN 12884901889 THEN (SELECT payload FROM fact WHERE id = 12884901890) ELSE (SELECT payload FROM fact WHERE id = 12884901889) END WHERE id IN (12884901889, 12884901890);

-- rows: facts that have changed places
UPDATE fact SET id = 1 WHERE id = 12884901889;
UPDATE fact SET id = 12884901889 WHERE id = 12884901890;
UPDATE fact SET id = 12884901890 WHERE id = 1;

-- rows: a payload of another run
UPDATE fact SET payload = (SELECT payload FROM fact WHERE id = 12884901895) WHERE id = 4294967300;

-- rows: a fact of another run
DELETE FROM fact WHERE id = 4294967300;
UPDATE fact SET id = 4294967300 WHERE id = 12884901948;

-- rows: facts of two runs that have changed places
UPDATE fact SET id = 1 WHERE id = 4294967297;
UPDATE fact SET id = 4294967297 WHERE id = 12884901889;
UPDATE fact SET id = 12884901889 WHERE id = 1;

-- rows: the first fact away
DELETE FROM fact WHERE id = 4294967297;

-- rows: a fact away
DELETE FROM fact WHERE id = 4294967299;

-- rows: the last fact away
DELETE FROM fact WHERE id = 4294967302;

-- rows: all facts away
DELETE FROM fact;

-- rows: a fact before the first
INSERT INTO fact SELECT 4294967296, kind, attempt, node, reason, fingerprint, at, seconds, until, payload, proof FROM fact WHERE id = 4294967297;

-- rows: the last fact twice
INSERT INTO fact SELECT 4294967303, kind, attempt, node, reason, fingerprint, at, seconds, until, payload, proof FROM fact WHERE id = 4294967302;

-- rows: a fact far behind the last
INSERT INTO fact SELECT 4294967296 + 4294967295, kind, attempt, node, reason, fingerprint, at, seconds, until, payload, proof FROM fact WHERE id = 4294967302;

-- rows: a blob away
DELETE FROM blob;

-- rows: a blob that is another
UPDATE blob SET data = zeroblob(6144);

-- rows: a blob that is a text
UPDATE blob SET data = 'x';

-- rows: a blob of another name
UPDATE blob SET sha256 = zeroblob(32) WHERE id = 1;
UPDATE blob SET sha256 = x'01' WHERE id = 2;

-- rows: a blob whose name is a number
UPDATE blob SET sha256 = id;

-- rows: blobs that have changed places
UPDATE blob SET id = 3 WHERE id = 1;
UPDATE blob SET id = 1 WHERE id = 2;
UPDATE blob SET id = 2 WHERE id = 3;

-- rows: a blob with a name of its own
UPDATE blob SET data = zeroblob(9), sha256 = x'3e7077fd2f66d689e0cee6a7cf5b37bf2dca7c979af356d0a31cbc5c85605c7d' WHERE id = 2;

-- rows: runs that have changed places
UPDATE run SET id = 9 WHERE id = 1;
UPDATE run SET id = 1 WHERE id = 2;
UPDATE run SET id = 2 WHERE id = 9;

-- rows: names that have changed places
UPDATE run SET run_id = 'x' WHERE id = 1;
UPDATE run SET run_id = 'nightly-1' WHERE id = 2;
UPDATE run SET run_id = 'nightly-2' WHERE id = 1;
