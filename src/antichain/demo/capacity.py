"""
What `antichain demo --capacity` does: make the same calls in several ways, to a provider that refuses what is too much
and does not say how much that is, and tell what it saw.
"""

import asyncio
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from antichain.adaptive import Adaptive
from antichain.demo.chat import open_chat
from antichain.demo.plot import ASCII, UNICODE, Signs, Timeline, averages, chart, counts, strip
from antichain.demo.saying import SUCCEEDED, say, styled, width, wrapped
from antichain.demo.strategies import Answers, Call, adaptive, fixed, unbounded
from antichain.policies import Backoff, Retry
from antichain.testing import FakeProvider, Request
from antichain.views.called import called

__all__ = ["show_capacity"]

VERSION: Final = 1
CALLS: Final = 400
# What the provider allows and does not tell; for how many seconds a call is served, on average, and the standard
# deviation of the logarithm of that.
ALLOWED: Final = 8
LATENCY: Final = 0.025
SPREAD: Final = 0.5
# Eight attempts; the first pause is a little longer than a call takes.
RETRY: Final = Retry(attempts=8, backoff=Backoff(initial=1.25 * LATENCY))
# Rows of the plot of the limit; columns of names, and of figures with the room around them.
ROWS: Final = 9
NAME: Final = 19
FIGURES: Final = 31


@dataclass(frozen=True, slots=True)
class Way:
    """
    A way to make the calls.
    """

    name: str
    remark: str
    # The last argument keeps the sizes of a limit that adapts.
    run: Callable[[Call, Callable[[Adaptive], None]], Awaitable[Answers]]


def ways(seed: int) -> list[Way]:
    """
    List the ways; the first is what the others are compared with.
    """
    items = range(CALLS)

    def at_once(size: int, remark: str) -> Way:
        return Way(f"Semaphore({size})", remark, lambda call, keep: fixed(call, items, RETRY, size, seed))

    def adapting(call: Call, keep: Callable[[Adaptive], None]) -> Awaitable[Answers]:
        limit = Adaptive(initial=2)
        keep(limit)
        return adaptive(call, items, RETRY, limit, seed)

    return [
        at_once(ALLOWED, "if you knew"),
        Way("gather", "all at once", lambda call, keep: unbounded(call, items, RETRY, seed)),
        at_once(4 * ALLOWED, "a guess, too high"),
        at_once(ALLOWED // 2, "a guess, too low"),
        Way("Adaptive(initial=2)", "nobody told it", adapting),
    ]


@dataclass(frozen=True, slots=True)
class Trial:
    """
    One way to make the calls, and what came of it.
    """

    way: Way
    lost: int
    seen: Timeline


def tried(way: Way, seed: int) -> Trial:
    """
    Make the calls to a provider of their own.
    """

    def seconds(request: Request) -> float:
        # The same for each way.
        return LATENCY * math.exp(Random(f"{seed}/{request.prompt}").gauss(-(SPREAD**2) / 2, SPREAD))

    sizes: list[tuple[float, int]] = []
    began = 0.0

    def keep(limit: Adaptive) -> None:
        def look() -> None:
            sizes.append((time.monotonic() - began, limit.size))

        look()
        limit.watch(look)

    async def work(url: str) -> Answers:
        nonlocal began
        async with open_chat(url, "pretended") as chat:

            async def call(item: int) -> str:
                return await chat.ask(f"question {item}")

            began = time.monotonic()
            return await way.run(call, keep)

    with FakeProvider(allowed=ALLOWED, latency=seconds, reply=lambda request: f"answer to {request.prompt}") as fake:
        answers = asyncio.run(work(fake.url))
        took = time.monotonic() - began
        fake.wait_idle()
    lost = sum(answer != f"answer to question {item}" for item, answer in enumerate(answers))
    return Trial(way, lost, timeline(fake, began, took, sizes))


def timeline(fake: FakeProvider, began: float, took: float, sizes: Sequence[tuple[float, int]]) -> Timeline:
    """
    Read from the provider's log what it saw.
    """
    changes = []
    for entry in fake.log:
        if entry.started_at is not None and entry.ended_at is not None:
            changes += [(entry.started_at - began, +1), (entry.ended_at - began, -1)]
    served, in_flight = 0, []
    for at, change in sorted(changes):
        served += change
        in_flight.append((at, served))
    refused = [entry.arrived_at - began for entry in fake.log if entry.status == 429]
    return Timeline(took, in_flight, refused, sizes)


# -- what is said


def show_capacity(seed: int, as_json: bool) -> int:
    """
    Make the calls in each way, tell what came of it, and return the exit code of the command.
    """
    trials: list[Trial] = []
    columns = width()
    code = SUCCEEDED if as_json else say("\n".join(_head(columns)))
    for way in ways(seed):
        if code != SUCCEEDED:
            return code
        trials.append(tried(way, seed))
        if not as_json:
            # As they end: all of them take a while.
            code = say(_row(trials[-1], trials[0], columns))
    return say(json.dumps(_report(trials), indent=2) if as_json else "\n".join(_plots(trials, columns)))


def _report(trials: Sequence[Trial]) -> dict[str, Any]:  # Any: JSON
    head = {"version": VERSION, "calls": CALLS, "allowed": ALLOWED, "attempts": RETRY.attempts, "latency": LATENCY}
    return head | {"ways": [_figures(trial, trials[0]) for trial in trials]}


def _figures(trial: Trial, best: Trial) -> dict[str, Any]:  # Any: JSON
    seen = trial.seen
    figures = {"name": trial.way.name, "seconds": round(seen.seconds, 3), "lost": trial.lost}
    figures |= {"ratio": round(seen.seconds / best.seen.seconds, 3), "refused": len(seen.refused)}
    return figures | {"sizes": [[round(at, 3), size] for at, size in seen.sizes]}


def _head(columns: int) -> list[str]:
    text = f"{CALLS} calls to a provider that serves {ALLOWED} at once, refuses what is more, and does not say how many"
    text += f" it serves. Each way of making them tries a call up to {RETRY.attempts} times."
    titles = f"{'':{NAME}}   {'time':>6}  {'':>5}  {'429s':>5}  {'lost':>4}"
    return [*wrapped(text, columns), "", styled("2", titles.rstrip())]


def _row(trial: Trial, best: Trial, columns: int) -> str:
    seen = trial.seen
    ratio = f"{seen.seconds / best.seen.seconds:.2f}x"
    figures = f"{seen.seconds:>4.1f} s  {ratio:>5}  {len(seen.refused):>5,}  {trial.lost:>4}"
    row = f"{styled('1', f'{trial.way.name:{NAME}}')}   {figures}"
    has_room = NAME + FIGURES + len(trial.way.remark) <= columns
    return f"{row}  {styled('2', trial.way.remark)}" if has_room else row


def _plots(trials: Sequence[Trial], columns: int) -> list[str]:
    signs = signs_for(sys.stdout.encoding)
    room = columns - NAME - 1
    longest = max(trial.seen.seconds for trial in trials)
    column = longest / room
    refusals = [counts(trial.seen.refused, column, room) for trial in trials]
    most = max(1, *map(max, refusals))
    text = f"Calls in flight, 0 to {ALLOWED}, and below them those refused, 0 to {most}; a column is {column:.2g} s:"
    lines = ["", *wrapped(text, columns)]
    for trial, refused in zip(trials, refusals, strict=True):
        served = averages(trial.seen.in_flight, column, room)
        lines.append(f"{styled('1', f'{trial.way.name:{NAME}}')} {strip(served, ALLOWED, signs)}")
        if any(refused):
            lines.append(f"{'429':>{NAME}} {styled('31', strip(refused, most, signs))}")
    last = trials[-1]
    text = f"How {last.way.name} found it: its size ({signs.limit}) and the calls in flight, beside what is allowed"
    lines += ["", *wrapped(f"{text} ({signs.allowed}):", columns)]
    lines += chart(last.seen, ALLOWED, columns, ROWS, signs)
    return [*lines, "", *_next(columns)]


def signs_for(encoding: str | None) -> Signs:
    """
    Choose signs that the output can show.
    """
    try:
        f"{UNICODE.levels}{UNICODE.limit}{UNICODE.allowed}{UNICODE.axis}".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return ASCII
    return UNICODE


def _next(columns: int) -> list[str]:
    text = f"Over HTTP on this machine, {LATENCY * 1000:.0f} ms a call. In a graph it is one word: limits="
    text += '{"llm": Adaptive()}. The main job: ' + f"{called()} demo"
    return wrapped(text, columns)
