"""
The states of a node and every transition between them; nothing else decides what may follow what.

Two rules hold here. All that says which state may follow which is in `TRANSITIONS`: the scheduler asks no one else
and the documentation's diagram is drawn from it. And this file does not know why a state changes: that is the
scheduler's business.
"""

from typing import Final

# Plain ints, because the scheduler compares them a few million times a second.
PENDING: Final = 0
READY: Final = 1
RUNNING: Final = 2
BACKING_OFF: Final = 3
SUCCEEDED: Final = 4
FAILED: Final = 5
SKIPPED: Final = 6
CANCELLED: Final = 7

STATE_NAMES: Final = ("pending", "ready", "running", "backing off", "succeeded", "failed", "skipped", "cancelled")

# A state below this one is not final.
FIRST_TERMINAL: Final = SUCCEEDED

LIVE: Final = frozenset({READY, RUNNING, BACKING_OFF})
TERMINAL: Final = frozenset({SUCCEEDED, FAILED, SKIPPED, CANCELLED})

TRANSITIONS: Final[dict[int, frozenset[int]]] = {
    # pending → succeeded: its output was given (`outputs=`), or is known from before the run went on. So may be its
    # attempts: then it backs off first.
    PENDING: frozenset({READY, BACKING_OFF, SUCCEEDED, SKIPPED, CANCELLED}),
    # ready → failed: its `when` raised, or abandoned work holds all it needs.
    READY: frozenset({RUNNING, SKIPPED, FAILED, CANCELLED}),
    RUNNING: frozenset({BACKING_OFF, SUCCEEDED, FAILED, CANCELLED}),
    BACKING_OFF: frozenset({READY, FAILED, CANCELLED}),
    SUCCEEDED: frozenset(),
    FAILED: frozenset(),
    SKIPPED: frozenset(),
    CANCELLED: frozenset(),
}

# The instant of what has not happened: not a number, because a run's clock may start anywhere. It is not equal to
# itself.
NEVER: Final = float("nan")

# Why a node is in its terminal state, and why a run stopped.
NO_REASON: Final = 0
OUTPUT: Final = 1
FALLBACK: Final = 2
OUTPUTS: Final = 3
ERROR: Final = 4
TIMEOUT: Final = 5
UPSTREAM: Final = 6
CONDITION: Final = 7
RUN: Final = 8
DEADLINE: Final = 9
STARVED: Final = 10
CHECKPOINT: Final = 11
PAUSED: Final = 12
BUDGET: Final = 13

REASON_NAMES: Final = (
    "",
    "output",
    "fallback",
    "outputs",
    "error",
    "timeout",
    "upstream",
    "condition",
    "run",
    "deadline",
    "starved",
    "checkpoint",
    "paused",
    "budget",
)

# Which reasons go with which terminal state.
REASONS: Final[dict[int, frozenset[int]]] = {
    SUCCEEDED: frozenset({OUTPUT, FALLBACK, OUTPUTS, CHECKPOINT}),
    FAILED: frozenset({ERROR, TIMEOUT, STARVED}),
    SKIPPED: frozenset({UPSTREAM, CONDITION}),
    # upstream: the stage that feeds a running one has ended; timeout: the time of the graph around it is up; paused: it
    # waits for somebody's answer, or for a node that does, and the run may go on another day; budget: so may it, with
    # another one.
    CANCELLED: frozenset({RUN, DEADLINE, UPSTREAM, TIMEOUT, PAUSED, BUDGET}),
}
