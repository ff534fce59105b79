"""
Who owns whom while a run grows: a group is the set of nodes that one container, or one running body, has brought
into the run.
"""

from typing import Final

# What the failure of a member means for the others.
CANCEL: Final = 0
DRAIN: Final = 1
CONTINUE: Final = 2
# The owner looks at each failure itself (`map(outcomes=True)`, `ctx.run`); nothing follows from one.
COLLECT: Final = 3

NOT_STOPPING: Final = 0
DRAINING: Final = 1
CANCELLING: Final = 2


class Group:
    """
    Know the unfinished members of one owner, and what their failure means.
    """

    __slots__ = ("attempt", "cancelled", "closed", "failed", "live", "mode", "owner", "paused", "reason", "stopping")

    def __init__(self, owner: int, attempt: int, mode: int) -> None:
        # The node that opened the group, -1 for the run itself; the group ends with that attempt.
        self.owner = owner
        self.attempt = attempt
        self.mode = mode
        # Members without a terminal state, in the order in which they came. The run's own group counts planned nodes
        # by state instead.
        self.live: dict[int, None] = {}
        # No further member will come. Invariant: a group that is closed and has no live member is reported exactly
        # once.
        self.closed = False
        self.stopping = NOT_STOPPING
        # Why it stops: the reason its members are cancelled with.
        self.reason = 0
        # A member ended as failed; as cancelled; because it waits for an answer.
        self.failed = False
        self.cancelled = False
        self.paused = False
