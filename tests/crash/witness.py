"""
What a killed process cannot take back: a log of what its nodes did and of what it told, and the judge who reads it.

Each line is one write to a file opened for appending, so it survives `kill -9`, and it is in order.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar


class Witness:
    """The log, as a subject writes it."""

    # What a line begins with, and what is called before the first such line is written.
    gate: ClassVar[tuple[str, Callable[[], object]] | None] = None

    def __init__(self, file: Path, process: int) -> None:
        self._fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._say("process", process)

    def _say(self, *words: object) -> None:
        line = " ".join(map(str, words)) + "\n"
        if self.gate is not None and line.startswith(self.gate[0]):
            _, wait = self.gate
            Witness.gate = None
            wait()
        os.write(self._fd, line.encode())

    def found(self, nodes: Iterable[str]) -> None:
        """Before this process does anything: the nodes that the store says have ended."""
        self._say("found", *nodes)

    def began(self, node: str, attempt: int) -> None:
        """By the node's body, first thing."""
        self._say("began", node, attempt)

    def told(self, node: str) -> None:
        """Somebody was told that the node has ended: this acknowledges it."""
        self._say("told", node)

    def told_again(self, node: str, attempt: int) -> None:
        """Somebody was told that this attempt has failed and another one follows."""
        self._say("again", node, attempt)

    def returned(self, value: object) -> None:
        """The run has given its value to whoever called it."""
        self._say("returned", value)


@dataclass
class Verdict:
    """What a log says."""

    # Nodes that were acknowledged before, and that a later process did not find in its store.
    lost: list[str] = field(default_factory=list)
    # Nodes whose body began after they had been acknowledged, and attempts that did after a later one had begun.
    begun_again: list[str] = field(default_factory=list)
    # Attempts that began again after their failure had been told: the journal had not noted it yet. It is no end of
    # a node, so nobody was promised anything; but it should be rare.
    retold: list[str] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    processes: int = 0
    # Lines "began" and "told" of each process: what shows that it was at work.
    work: list[int] = field(default_factory=list)
    value: str | None = None

    @property
    def is_clean(self) -> bool:
        return not self.lost and not self.begun_again


# What a node waits for, by its name. An instance "pages[3]" or an inner node "agent/look" waits for what its head does.
Upstream = Mapping[str, Sequence[str]]


def head_of(node: str) -> str:
    return node.partition("/")[0].partition("[")[0]


def nothing(node: str) -> bool:
    """No node is made of others."""
    return False


def judge(text: str, upstream: Upstream, made_of_others: Callable[[str], bool] = nothing) -> Verdict:
    """
    Read a log. A node is acknowledged once its end was told, or one that waits for it began, or the run returned.

    Nodes that are *made_of_others* have no body and no fact of their own: their members are judged.
    """
    verdict = Verdict()
    # The last attempt of each node that has begun, and attempts whose failure was told.
    attempts: dict[str, int] = {}
    again: set[tuple[str, int]] = set()
    acknowledged = verdict.acknowledged
    for line in text.splitlines():
        word, *rest = line.split(" ")
        if word == "process":
            verdict.processes += 1
            verdict.work.append(0)
        elif word == "found":
            lost = acknowledged.difference(rest)
            verdict.lost += sorted(node for node in lost if not made_of_others(node))
        elif word == "began":
            node, attempt = rest[0], int(rest[1])
            verdict.work[-1] += 1
            if node in acknowledged:
                verdict.begun_again.append(node)
            elif attempt < attempts.get(node, 1):
                verdict.begun_again.append(f"{node} attempt {attempt}")
            elif (node, attempt) in again:
                verdict.retold.append(f"{node} attempt {attempt}")
            attempts[node] = attempt
            acknowledged.update(upstream.get(head_of(node), ()))
        elif word == "told":
            verdict.work[-1] += 1
            acknowledged.add(rest[0])
        elif word == "again":
            again.add((rest[0], int(rest[1])))
        else:
            assert word == "returned", line
            verdict.value = " ".join(rest)
            acknowledged.update(upstream)
    return verdict
