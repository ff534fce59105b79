"""
Another process that uses a store: `python -m tests.support.store_worker MODE FILE [LIMIT]`.

- `acks` adds facts to the run "run", in both ways, and says after each what it was told. With LIMIT, no file may become
  larger than so many bytes.
- `hold` opens the run, then adds a fact for every line that it gets.
- `hammer` adds facts until it is refused.
"""

import os
import sys
from threading import Event

from antichain.errors import StoreError, UnknownRun
from antichain.stores import Fact, FactKind, Header, Ownership, SqliteStore

COUNT = 8
LARGE = bytes(range(256)) * 64


def say(text: str) -> None:
    # At once and whole, also when this process is killed next.
    os.write(1, f"{text}\n".encode())


def fact(node: str) -> Fact:
    return Fact(FactKind.SUCCEEDED, node, payload=LARGE if node.endswith("5") else node.encode())


def come_by(store: SqliteStore) -> Ownership:
    try:
        return store.open("run")
    except UnknownRun:
        return store.open("run", Header("run", "graph", inputs=b"i" * 300))


def append(store: SqliteStore, mine: Ownership, node: str) -> BaseException | None:
    decided = Event()
    told: list[BaseException | None] = []
    store.append(mine, [fact(node)], lambda failure: (told.append(failure), decided.set()))
    decided.wait()
    return told[0]


def add(store: SqliteStore, mine: Ownership, number: int) -> None:
    """Every second one in this thread."""
    node = f"{os.getpid()}-{number}"
    failure = None
    if number % 2 or not store.append_now(mine, [fact(node)]):
        failure = append(store, mine, node)
    if failure is not None:
        raise failure
    say(f"ack {node}")


def acks(store: SqliteStore) -> None:
    mine = None
    try:
        mine = come_by(store)
        for number in range(COUNT):
            add(store, mine, number)
    except StoreError as error:
        say(f"error {type(error).__name__} {error}")
        if mine is not None:
            # Nothing more is accepted, whatever has become of the disk.
            again = append(store, mine, "after")
            say("refused" if isinstance(again, StoreError) else "accepted after a failure")
    finally:
        if mine is not None:
            store.release(mine)
    say("end")


def hold(store: SqliteStore) -> None:
    mine = come_by(store)
    add(store, mine, 0)
    say("ready")
    for number, _ in enumerate(sys.stdin, 1):
        try:
            add(store, mine, number)
        except StoreError as error:
            say(f"error {type(error).__name__} {error}")
    store.release(mine)
    say("end")


def hammer(store: SqliteStore) -> None:
    mine = come_by(store)
    say("ready")
    number = 0
    try:
        while True:
            add(store, mine, number)
            number += 1
    except StoreError as error:
        say(f"error {type(error).__name__} {error}")


if __name__ == "__main__":
    mode, path, *limit = sys.argv[1:]
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), int(limit[0])))
    {"acks": acks, "hold": hold, "hammer": hammer}[mode](SqliteStore(path, timeout=5.0))
