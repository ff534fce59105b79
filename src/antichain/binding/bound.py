"""
What binding makes of a node: whom an attempt calls, how, and with what; and what it takes of the limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from antichain.binding.sources import MISSING, DictSource, Prepared, SlotSource, Source
from antichain.errors import Fault
from antichain.policies import UNSET, Settled
from antichain.shape import DEFAULT_COST, Flag

if TYPE_CHECKING:
    from antichain.plan import Plan

__all__ = [
    "THREADED",
    "Binding",
    "Bound",
    "MapSpec",
    "PreparedBinding",
    "Style",
    "demand_of",
    "flags_of",
    "private_limit",
]

Style = Literal[
    "coroutine",
    "inline",
    "thread",
    "async_generator",
    "thread_generator",
    "invoke",
    "invoke_thread",
    "graph",
    "map",
]
# Styles whose attempts cannot be interrupted.
THREADED: frozenset[Style] = frozenset({"thread", "thread_generator", "invoke_thread"})


class Binding:
    """
    Everything an attempt needs of one node beyond a plain call: whom to call, how, and with what.
    """

    __slots__ = (
        "context",
        "defaults",
        "fallback",
        "function",
        "keywords",
        "map",
        "names",
        "positional",
        "resources",
        "style",
        "subplan",
        "weights",
        "when",
    )

    def __init__(self, style: Style, function: Any) -> None:
        self.style: Style = style
        # What to call; for "invoke" and "invoke_thread" the object that has ainvoke or invoke.
        self.function = function
        self.positional: list[Source] = []
        # What a positional argument is if its source is missing.
        self.defaults: list[Any] = []
        # The parameters that receive them, where they have names.
        self.names: list[str] = []
        self.keywords: dict[str, Source] = {}
        # The parameter that receives the run's Context.
        self.context: str | None = None
        # Parameters that receive a resource, unless arguments() already found a run input of that name.
        self.resources: tuple[str, ...] = ()
        self.when: Binding | None = None
        # What tells how much it takes of a rate, by the name of that.
        self.weights: dict[str, Binding] | None = None
        # UNSET if there is none.
        self.fallback: Any = UNSET
        self.subplan: Plan | None = None
        self.map: MapSpec | None = None

    def pass_by_position(self, source: Source, default: Any = MISSING, name: str = "") -> None:
        """
        Add a positional argument, and what it is if *source* is missing.
        """
        self.positional.append(source)
        self.defaults.append(default)
        self.names.append(name)

    def arguments(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """
        Make the arguments, all but Context and resources; a parameter whose source is missing takes its default.
        """
        args = []
        for source, default in zip(self.positional, self.defaults, strict=True):
            value = source.get(values)
            args.append(default if value is MISSING else value)
        kwargs = {}
        for name, source in self.keywords.items():
            value = source.get(values)
            if value is not MISSING:
                kwargs[name] = value
        return tuple(args), kwargs

    def slots(self) -> tuple[int, ...] | None:
        """
        Return the slots of the arguments if a plain call with them is all there is to do, else None.
        """
        if self.keywords or self.context or self.resources or self.when or self.weights or self.fallback is not UNSET:
            return None
        found = []
        for source in self.positional:
            if type(source) is not SlotSource:
                return None
            found.append(source.slot)
        return tuple(found)


class PreparedBinding(Binding):
    """
    A node whose arguments a function makes, all at once.
    """

    __slots__ = ("_is_invoked", "_prepared", "outputs")

    def __init__(
        self, style: Style, function: Any, prepared: Prepared, outputs: DictSource, *, is_invoked: bool = False
    ) -> None:
        super().__init__(style, function)
        self._prepared = prepared
        # Of all that the node depends on, by id.
        self.outputs = outputs
        # What is invoked takes the dict itself.
        self._is_invoked = is_invoked

    def arguments(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """
        Let the function make the arguments.
        """
        made = self._prepared.make(self.outputs.get(values))
        return ((made,), {}) if self._is_invoked else ((), made)

    def slots(self) -> tuple[int, ...] | None:
        """
        Return None: there is more to do than a plain call.
        """
        return None


class MapSpec(NamedTuple):
    """
    What a mapped node makes instances from. Values may hold the item in *item_slot* while arguments are made.
    """

    # How one instance is called; its item is the value in item_slot.
    binding: Binding
    item_slot: int
    # The item is the only argument: binding.function(item) will do.
    takes_item_only: bool
    over: Source
    # The mapped node whose instances feed these, one by one: it needs to have started only.
    leader: int | None
    key: Callable[[Any], object] | None
    max_concurrent: int | None
    outcomes: bool
    window: int | None
    # The policies, demand and flags of each instance.
    policies: Settled
    demand: tuple[tuple[str, int], ...]
    flags: Flag

    @property
    def cost(self) -> float:
        """
        The expected seconds of one instance.
        """
        inside = self.binding.subplan
        if self.policies.cost is not None:
            return float(self.policies.cost)
        return DEFAULT_COST if inside is None else max(inside.shape.remaining, default=0.0)


class Bound(NamedTuple):
    """
    A node whose arguments have been found.
    """

    binding: Binding
    # The nodes it waits for, each once, as written.
    upstream: tuple[int, ...]
    # The mapped node that it follows item by item.
    leader: int | None
    faults: list[Fault]


def private_limit(node: str) -> str:
    """
    Name the limit that a map's max_concurrent is.
    """
    return f"{node}.max_concurrent"


def demand_of(policies: Settled, style: Style) -> tuple[tuple[str, int], ...]:
    """
    List what an attempt takes of each limit, names sorted; a thread is taken like any other.
    """
    if style not in THREADED or any(name == "thread" for name, _ in policies.uses):
        return policies.uses
    return tuple(sorted((*policies.uses, ("thread", 1))))


def flags_of(policies: Settled) -> Flag:
    """
    Return what the core must know of a node's policies.
    """
    flags = Flag(0)
    if policies.fallback is not UNSET:
        flags |= Flag.FALLBACK
    if policies.repeat == "safe":
        flags |= Flag.REPEAT_SAFE
    if policies.timeout is not None:
        flags |= Flag.TIMED
    if policies.retry is not None:
        flags |= Flag.RETRY
    return flags
