"""
Mapped stages: one instance of a node for each item, from a source that is never read far ahead. No clock and no task:
the driver has those.
"""

from __future__ import annotations

import contextlib
from array import array
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from antichain.binding import MISSING, Binding, MapSpec, private_limit
from antichain.core.facts import Uses
from antichain.core.groups import COLLECT
from antichain.core.scheduler import Kind
from antichain.core.states import CANCELLED, FALLBACK, OUTPUT, REASON_NAMES, REASONS, RUN, STATE_NAMES, SUCCEEDED
from antichain.errors import Fault, GraphError, RunnerError, shown
from antichain.growth import Container, Grown, Kept, NestedGraph, Owner, limit_faults, place_of
from antichain.items import Items, Iterated, Queued
from antichain.policies import UNSET
from antichain.record import FailedAttempt, NodeRecord, instant
from antichain.shape import ITEM_BITS, ITEM_MAX, NO_PLACE, Place, item_order

if TYPE_CHECKING:
    from antichain.choosing import Choosing
    from antichain.driver import Driver
    from antichain.keeping import Keeping
    from antichain.policies import Weighing

# How many items a map without any limit keeps in flight.
OPEN_WINDOW: Final = 1024
# Collections whose length is a fact, and no call of foreign code.
_COUNTED: Final = (list, tuple, range, dict, set, frozenset, deque)


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one item: its value, or its error.

    Example:
        >>> outcomes = antichain.map(int, ["1", "x"], outcomes=True)
        >>> [outcome.value for outcome in outcomes if outcome.ok]
        [1]
    """

    key: str
    state: str
    value: Any = None
    error: BaseException | None = None
    # Why it is in that state, as of a node: "output", "error", "deadline", "budget", … An item that is such an outcome
    # is the same one when a run goes on, although its value now comes from a checkpoint.
    reason: str = field(default="", compare=False, metadata={"antichain.digest": False})

    @property
    def ok(self) -> bool:
        """
        Tell whether there is a value.
        """
        return self.state == "succeeded"

    def unwrap(self) -> Any:
        """
        Return the value, or raise the error.
        """
        if self.error is not None and not self.ok:
            raise self.error
        if not self.ok:
            why = f" (reason: {self.reason})" if self.reason else ""
            raise RunnerError(f"item {self.key!r} was {self.state}{why}: it has neither a value nor an error.")
        return self.value


class MappedStage(Container):
    """
    One instance of a node for each item, at most a window of them in the run at once; the output is the list of theirs,
    in order.
    """

    # Its id in the graph that it was written in; its name says where that graph is.
    own_id: str

    def __init__(
        self, driver: Driver, node: int, spec: MapSpec, values: list[Any], siblings: Owner | None = None
    ) -> None:
        super().__init__()
        self._driver = driver
        self._spec = spec
        self._name = driver.name_of(node)
        self._values = values
        # Who knows the stage that this one follows, if it is not the run itself.
        self._siblings = siblings
        self._results: list[Any] = []
        # What became of instances, by position, that have no value, or one that is not their body's.
        self._others: dict[int, Outcome] = {}
        self._keys: list[str] | None = None if spec.key is None else []
        self._known_keys: set[str] = set()
        # Instances in the run.
        self._live: dict[int, Grown] = {}
        self._window = self._window_of(driver, spec)
        self._is_refilling = False
        self._items: Items = Iterated(())
        # Stages fed by the items of this one: those count against its window until they have taken them.
        self._followers: list[MappedStage] = []
        # Called when there is room for items that somebody else puts.
        self._wakes_reader: Callable[[], object] | None = None
        self._will_look = False
        # The stage that feeds this one item by item.
        self._leader: MappedStage | None = None
        # Finds the limits of each item, where they differ.
        self._choosing: Choosing | None = None
        self._records = InstanceRecords(self._name, self._keys)
        self._node = node
        self._place = NO_PLACE
        # The path of a whole item, through all stages that it goes through; and the tie of the first instance.
        self._line = 0.0
        self._first_tie = 0

    def place_of(self, grown: Grown) -> Place:
        place = self._place
        return Place(place.after, self._line, place.position if place.line else grown.position)

    def _tie_of(self, position: int) -> int:
        if self._place.line:  # a stage in an item of another one: that one's order comes first
            return self._first_tie + min(position, ITEM_MAX)
        return self._first_tie + (position << ITEM_BITS)

    def kept(self, keeping: Keeping, grown: Grown) -> Kept:
        policies = self._spec.policies
        return keeping.instance(self._node, grown.item, policies, self._spec.binding.function)

    @staticmethod
    def _window_of(driver: Driver, spec: MapSpec) -> int:
        if spec.window is not None:
            return spec.window
        sizes = [size for size in (spec.max_concurrent, driver.settings.max_concurrent) if size is not None]
        # As many again wait ready, so that no slot is idle between one item and the next.
        return 2 * min(sizes) if sizes else OPEN_WINDOW

    def open(self, driver: Driver, node: int) -> None:
        core, spec = driver.core, self._spec
        policies = spec.policies
        demand = self._records.uses = self._demand(driver)
        self._find_leader(driver)
        self._take_place(driver, node)
        self._kind = Kind(
            demand=core.demand_number(demand),
            flags=int(spec.flags),
            priority=max(policies.priority, core.priority[node]),
            remaining=self._line,
            retry=policies.retry,
            timeout=policies.timeout,
            amounts=None if policies.weighing is None else policies.weighing.amounts or None,
            is_weighed=bool(spec.binding.weights),
        )
        if not driver.stages:  # what `map`, `gather` and `batch` ask for; others would only keep their values alive
            driver.stages.append(self)
        self._is_simple = spec.takes_item_only and spec.binding.style == "coroutine" and not spec.binding.weights
        try:
            self._items = self._source(driver)
        except BaseException as error:
            self._fail(error)
            return
        weighing = policies.weighing
        if weighing is not None and weighing.choose is not None:
            from antichain.choosing import Choosing  # few maps have one

            self._choosing = Choosing(
                self._name,
                weighing.choose,
                (demand, self._kind),
                self._window,
                self._demand_number,
                is_counted=self.total is not None,
            )
        self._refill()

    def _demand_number(self, uses: Uses, weighings: Sequence[tuple[str, Weighing]]) -> int:
        """
        Return the number of the demand that an item has chosen.

        Raises:
            GraphError: the run has not all those limits, or one of them is too small.
        """
        faults = limit_faults(self._driver, {uses: (self._name,)}, weighings)
        if faults:
            raise GraphError(faults)
        return self._driver.core.demand_number(uses)

    def _demand(self, driver: Driver) -> tuple[tuple[str, int], ...]:
        """
        Return what each instance takes; a stage inside a graph has a `max_concurrent` of its own, whatever others are
        called.
        """
        spec, shared, own = self._spec, private_limit(self.own_id), private_limit(self._name)
        if spec.max_concurrent is None or own == shared:
            return spec.demand
        driver.add_limits({own: spec.max_concurrent})
        return tuple(sorted((own if name == shared else name, weight) for name, weight in spec.demand))

    def _find_leader(self, driver: Driver) -> None:
        leader = self._spec.leader
        if leader is not None:
            siblings = self._siblings
            stage = driver.containers.get(siblings.nodes[leader] if isinstance(siblings, NestedGraph) else leader)
            if isinstance(stage, MappedStage):
                self._leader, self._records.leader = stage, stage._records

    def _take_place(self, driver: Driver, node: int) -> None:
        """
        Find out how urgent the instances are. Those of stages that feed each other are equally urgent, by the path of
        the first stage, and among them the earlier item comes first: an item is finished before a new one is begun.
        """
        place = self._place = place_of(driver, node)
        path = self._spec.cost + place.after
        if self._leader is not None:
            self._line = self._leader._line
        else:
            self._line = place.line or path
        tie = item_order(place.position, path, self._line)
        # Inside an item, the low bits are the instance's.
        self._first_tie = tie & ~ITEM_MAX if place.line else tie

    def _source(self, driver: Driver) -> Items:
        if self._leader is not None:
            self.total = self._leader.total
            return self._leader.feed(self)
        source = self._spec.over.get(self._values)
        if hasattr(source, "__aiter__"):
            queued = Queued()
            self._wakes_reader = driver.read(source, queued, self._window, self._on_items, self._fail)
            return queued
        if isinstance(source, (str, bytes)) or not isinstance(source, Iterable):
            what = (
                f"map {self._name!r} is to run over {shown(source)}, which is no list and no (async) iterator of items"
            )
            raise GraphError(
                Fault("bad-map", f"{what}: let it run over a list, or over a node that returns one.", self._name)
            )
        return self._iterated(source)

    def _iterated(self, source: Iterable[Any]) -> Items:
        if isinstance(source, _COUNTED):
            self.total = len(source)
        return Iterated(source)

    def expect(self, source: object) -> None:
        """
        Know the items of a collection that will not run.
        """
        if isinstance(source, _COUNTED):
            self._items = self._iterated(source)

    def feed(self, follower: MappedStage) -> Items:
        """
        Let *follower* take the items of this stage as each of them is ready.
        """
        queued = Queued()
        for position, value in enumerate(self._results):
            if value is not MISSING:
                queued.queue.append((position, value))
        self._followers.append(follower)
        follower._wakes_reader = self._on_room
        return queued

    def _on_room(self) -> None:
        """
        A follower has taken items, or will take none any more: look whether there is room for others, but not at once,
        since stages may follow each other in a long line.
        """
        is_full = self._choosing is None and len(self._live) >= self._window
        if not (self._will_look or self.group.closed or is_full):
            self._will_look = True
            self._driver.loop.call_soon(self._on_items)

    def _on_items(self) -> None:
        self._will_look = False
        self._refill()
        self._driver.turn()

    def _refill(self) -> None:
        """
        Take items while the window has room, and close when there are no more.
        """
        if self._is_refilling or self.group.closed:
            return
        # Entering an instance may end it at once, and lead back here.
        self._is_refilling = True
        try:
            while not self.group.stopping and self._has_room():
                if self._choosing is not None:
                    chosen = self._choosing.next(self._items)
                    if chosen is None:
                        break
                    self._enter(chosen.position, chosen.item, chosen.kind, chosen.turn, chosen.error)
                    continue
                taken = self._items.next()
                if taken is None:
                    break
                self._enter(*taken, self._kind, taken[0])
        except BaseException as error:
            self._fail(error)
        finally:
            self._is_refilling = False
        if self._wakes_reader is not None:
            self._wakes_reader()
        if (self.is_complete and not self.group.closed) or self.group.stopping:
            self._close()

    def _has_room(self) -> bool:
        waiting = max((len(each.queued) for each in self._followers if not each.group.closed), default=0)
        if self._choosing is not None:
            # It has a window for each choice.
            return waiting < self._window
        return len(self._live) + waiting < self._window

    @property
    def queued(self) -> deque[tuple[int, Any]]:
        """
        The items that have come and were not taken.
        """
        items = self._items
        return items.queue if isinstance(items, Queued) else deque()

    def _enter(self, position: int, item: Any, kind: Kind, turn: int, refused: BaseException | None = None) -> None:
        """
        Bring an instance for *item* into the run; who has a lower *turn* goes first, and one that is *refused* fails
        with that.
        """
        spec, driver = self._spec, self._driver
        name = self._make_room(position, item)
        grown = Grown(self, driver.plan, -1, self._values)
        grown.position, grown.item = position, item
        grown.fallback = spec.binding.fallback
        if refused is not None:
            grown.function = _raising(refused)
        elif self._is_simple:
            grown.function = spec.binding.function
        else:
            grown.binding, grown.slot = spec.binding, spec.item_slot
        node = driver.core.next_node
        self._live[node] = grown
        try:
            driver.enter(self.group, kind, name, grown, order=self._tie_of(turn), now=driver.clock())
        except BaseException:
            # What is kept of that name is another one's: this one has not come into the run.
            self._live.pop(node, None)
            raise

    def _renew(self, node: int, grown: Grown) -> bool:
        """
        Let the node of an instance that has ended be that of the next one; False if there is none to take now.
        """
        if self._is_refilling or self._followers or self.group.stopping or self.group.closed:
            return False
        if self._driver.keeping is not None or self._kind.is_weighed or self._choosing is not None:
            # The next one may have its output already, or take other slots.
            return False
        if len(self._live) > self._window or node in self._driver.core.abandoned_nodes:
            return False
        try:
            taken = self._items.next()
            if taken is None:
                return False
            name = self._make_room(*taken)
        except BaseException as error:
            self._fail(error)
            return False
        grown.position, grown.item = taken
        grown.output = None
        self._driver.renew(node, name, self._tie_of(grown.position))
        return True

    def _make_room(self, position: int, item: Any) -> str:
        """
        Make a place for the result of an item; returns the key of its instance.
        """
        # First, because it may raise.
        key = "" if self._keys is None else self._key_of(position, item)
        results = self._results
        if position == len(results):
            results.append(MISSING)
        else:
            results.extend([MISSING] * (position + 1 - len(results)))
        if self._keys is None:
            return ""
        self._keys.extend([""] * (position + 1 - len(self._keys)))
        self._keys[position] = key
        return key

    def name_of(self, grown: Grown) -> str:
        return self.name_at(grown.position)

    def name_at(self, position: int) -> str:
        """
        Return the name of the instance for the item at this position.
        """
        return f"{self._name}[{self._key_at(position)}]"

    def upstream_of(self, grown: Grown) -> tuple[str, ...]:
        return () if self._leader is None else (self._leader.name_at(grown.position),)

    def _key_of(self, position: int, item: Any) -> str:
        assert self._spec.key is not None
        key = str(self._spec.key(item))
        if key in self._known_keys:
            raise GraphError(
                Fault(
                    "id-collision",
                    f"map {self._name!r}: two items have the key {key!r} (the second is item {position}, "
                    f"{shown(item)}). "
                    "key= must tell all items apart.",
                    self._name,
                )
            )
        self._known_keys.add(key)
        return key

    def child_succeeded(self, driver: Driver, node: int, grown: Grown, value: Any) -> None:
        if self._spec.outcomes:
            value = self._outcome(driver, node, grown, value)
        elif grown.fallback is not UNSET and driver.core.reason[node] == FALLBACK:
            self._others[grown.position] = self._outcome(driver, node, grown, value)
        self._settle(driver, node, grown, value)

    def child_failed(self, driver: Driver, node: int, grown: Grown, error: BaseException) -> None:
        if not self._spec.outcomes:
            self.errors.append(error)
        self._settle_without_value(driver, node, grown, error)

    def child_cancelled(self, driver: Driver, node: int, grown: Grown) -> None:
        self._settle_without_value(driver, node, grown, driver.errors.get(node))

    def _settle_without_value(self, driver: Driver, node: int, grown: Grown, error: BaseException | None) -> None:
        outcome = self._outcome(driver, node, grown, None, error)
        if self._spec.outcomes:
            self._settle(driver, node, grown, outcome)
            return
        self._others[grown.position] = outcome
        self._settle(driver, node, grown, MISSING)

    def _outcome(
        self, driver: Driver, node: int, grown: Grown, value: Any, error: BaseException | None = None
    ) -> Outcome:
        state, reason = STATE_NAMES[driver.core.state[node]], REASON_NAMES[driver.core.reason[node]]
        return Outcome(self._key_at(grown.position), state, value, error, reason)

    def _key_at(self, position: int) -> str:
        return str(position) if self._keys is None else self._keys[position]

    def _settle(self, driver: Driver, node: int, grown: Grown, value: Any) -> None:
        """
        Keep what became of an instance, forget its node, and take the next item.
        """
        position = grown.position
        self._results[position] = value
        if driver.settings.keeps_instances:
            self._records.keep(driver, node, position, has_chosen=self._choosing is not None)
        if self._choosing is not None:
            self._choosing.ended(position)
        if not self._renew(node, grown):
            self._live.pop(node, None)
            driver.forget(node)
        if value is not MISSING:
            for follower in self._followers:
                if not follower.group.closed:
                    follower.queued.append((position, value))
                    follower._refill()
        if len(self._live) < self._window or self._wakes_reader is not None or self._choosing is not None:
            self._refill()

    def _fail(self, error: BaseException) -> None:
        """
        End the stage because its items cannot be had.
        """
        self.errors.append(error if isinstance(error, Exception) else RunnerError(f"{type(error).__name__}: {error}"))
        driver = self._driver
        driver.core.stop(self.group, driver.clock())
        self._close()
        driver.turn_soon()

    def _close(self) -> None:
        self._let_go()
        self._driver.core.close(self.group)

    def _let_go(self) -> None:
        """
        Close the source of the items; what a generator raises then is a failure of the stage.
        """
        try:
            self._items.close()
        except BaseException as error:
            self.errors.append(
                error if isinstance(error, Exception) else RunnerError(f"{type(error).__name__}: {error}")
            )

    @property
    def is_complete(self) -> bool:
        """
        Tell whether every item was taken.
        """
        return self._items.has_ended and not (self._choosing is not None and self._choosing.has_waiting)

    def output(self) -> list[Any]:
        return self._results

    def outcomes(self, reason: int) -> list[Outcome]:
        """
        Return what became of every item, whatever became of the stage: of all items of a collection, else of those
        that were taken. Of an item that never came into the run, *reason* is why.
        """
        left = dict(self._left_out())
        count = max(len(self._results), self.total or 0, max(left, default=-1) + 1)
        return [self._outcome_at(position, left, reason) for position in range(count)]

    def _outcome_at(self, position: int, left: Mapping[int, Any], reason: int) -> Outcome:
        value = self._results[position] if position < len(self._results) else MISSING
        if position in self._others:
            return self._others[position]
        if value is MISSING:
            return Outcome(self._key_left(position, left), STATE_NAMES[CANCELLED], reason=REASON_NAMES[reason])
        if isinstance(value, Outcome) and self._spec.outcomes:
            return value
        return Outcome(self._key_at(position), STATE_NAMES[SUCCEEDED], value, reason=REASON_NAMES[OUTPUT])

    def _left_out(self) -> Iterator[tuple[int, Any]]:
        """
        List the items, with their positions, that never came into the run.
        """
        if self._choosing is not None:
            yield from self._choosing.waiting()
        yield from self.queued
        if self.total is not None and self._spec.key is not None:
            # Of a collection: a body that has changed it since has left others, or none.
            with contextlib.suppress(RuntimeError):
                while (taken := self._items.next()) is not None:
                    yield taken

    def _key_left(self, position: int, left: Mapping[int, Any]) -> str:
        known = self._key_at(position) if self._keys is None or position < len(self._keys) else ""
        if known or self._spec.key is None or position not in left:
            return known or str(position)
        try:
            return str(self._spec.key(left[position]))
        except Exception:  # the user's function, asked for the sake of an error that is being raised
            return str(position)

    def archive(self, driver: Driver) -> None:
        self._let_go()
        if self._wakes_reader is not None:
            self._wakes_reader()
        for node, grown in list(self._live.items()):
            # The core cancelled it before it ran.
            self.child_cancelled(driver, node, grown)
        for follower in self._followers:
            items = follower._items
            if isinstance(items, Queued):
                items.is_complete = True
                follower._refill()
        if driver.settings.keeps_instances:
            driver.archives.append(self._records)


def outcomes_of(driver: Driver) -> list[Outcome]:
    """
    Return what became of every item of a run whose one node is a mapped stage, however the run ended.
    """
    reason = driver.core.status_reason
    why = reason if reason in REASONS[CANCELLED] else RUN
    if driver.stages:
        return driver.stages[0].outcomes(why)
    # It ended before the stage began: of an iterator nothing was taken.
    spec = driver.plan.arguments[0].map
    source = spec.over.get(driver.values)
    stage = MappedStage(driver, 0, spec, driver.values)
    stage.expect(source)
    return stage.outcomes(why)


def _raising(error: BaseException) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """
    Make a body that fails with *error*.
    """

    async def refuse(_: Any) -> Any:
        raise error

    return refuse


class InstanceRecords(Mapping[str, NodeRecord]):
    """
    Remember what became of a stage's instances, in some thirty bytes each.
    """

    def __init__(self, name: str, keys: list[str] | None) -> None:
        self._name = name
        self._prefix = f"{name}["
        self._keys = keys
        # The slots that each takes, or those that its item has chosen; and the stage that feeds this one.
        self.uses: Uses = ()
        self._chosen: dict[int, Uses] = {}
        self.leader: InstanceRecords | None = None
        self._positions: dict[str, int] | None = None
        self._state = bytearray()
        self._reason = bytearray()
        self._attempts = array("L")
        self._ready = array("d")
        self._started = array("d")
        self._ended = array("d")
        self._errors: dict[int, BaseException] = {}
        self._retried: dict[int, tuple[FailedAttempt, ...]] = {}
        self._abandoned: set[int] = set()

    def keep(self, driver: Driver, node: int, position: int, *, has_chosen: bool = False) -> None:
        core = driver.core
        if has_chosen:
            self._chosen[position] = core.demand_of(core.demand[node])
        while len(self._state) <= position:
            self._state.append(0)
            self._reason.append(0)
            self._attempts.append(0)
            self._ready.append(0.0)
            self._started.append(0.0)
            self._ended.append(0.0)
        self._state[position] = core.state[node]
        self._reason[position] = core.reason[node]
        self._attempts[position] = core.attempts[node]
        self._ready[position] = core.ready_at[node]
        self._started[position] = core.started_at[node]
        self._ended[position] = core.ended_at[node]
        error = driver.errors.get(node)
        if error is not None:
            self._errors[position] = error
        if node in driver.retried:
            self._retried[position] = tuple(driver.retried[node])
        if node in core.abandoned_nodes:
            self._abandoned.add(position)

    def _position(self, name: str) -> int | None:
        if not (name.startswith(self._prefix) and name.endswith("]")):
            return None
        key = name[len(self._prefix) : -1]
        if self._keys is not None:
            if self._positions is None:
                self._positions = {known: at for at, known in enumerate(self._keys)}
            return self._positions.get(key)
        return int(key) if key.isdecimal() and str(int(key)) == key and int(key) < len(self._state) else None

    def name_at(self, at: int) -> str:
        return f"{self._prefix}{at if self._keys is None else self._keys[at]}]"

    def __getitem__(self, name: str) -> NodeRecord:
        at = self._position(name)
        if at is None or not self._state[at]:
            raise KeyError(name)
        attempts = self._attempts[at]
        return NodeRecord(
            name,
            STATE_NAMES[self._state[at]],
            REASON_NAMES[self._reason[at]],
            attempts,
            self._errors.get(at),
            instant(self._ready[at]),
            instant(self._started[at]),
            instant(self._ended[at]),
            at in self._abandoned,
            self._name,
            () if self.leader is None else (self.leader.name_at(at),),
            self._chosen.get(at, self.uses),
            retried=self._retried.get(at, ()),
        )

    def __iter__(self) -> Iterator[str]:
        for at, state in enumerate(self._state):
            if state:
                yield self.name_at(at)

    def __len__(self) -> int:
        return len(self._state) - self._state.count(0)


def open_container(driver: Driver, node: int, attempt: int, grown: Grown | None, binding: Binding | None) -> None:
    """
    Start the container *node*; *grown* if it came while the run went on.
    """
    values = driver.values if grown is None else grown.values
    mode = driver.core.root.mode
    container: Container
    if grown is not None and grown.opens is not None:
        container = grown.opens
    else:
        assert binding is not None
        if binding.map is not None:
            siblings = None if grown is None else grown.owner
            container = MappedStage(driver, node, binding.map, values, siblings)
            container.own_id = driver.plan.ids[node] if grown is None else grown.plan.ids[grown.local]
            mode = COLLECT if binding.map.outcomes else mode
        else:
            assert binding.subplan is not None
            if grown is not None and grown.position >= 0:
                values[grown.slot] = grown.item
            _, inputs = binding.arguments(values)
            container = NestedGraph(binding.subplan, inputs)
    driver.containers[node] = container
    container.group = driver.core.open(node, attempt, mode)
    container.open(driver, node)
