"""
What a live display shows, folded from hand-made events: `at` is the second in which something happens.
"""

import asyncio
import random
import tracemalloc
from typing import Any

from antichain import Backoff, Context, Graph, Retry
from antichain.core.capacity import Slots
from antichain.core.facts import (
    Event,
    NodeAnswered,
    NodeAsks,
    NodeEnded,
    NodeEntered,
    NodeReady,
    NodeRetrying,
    NodeStarted,
    Outline,
    RunEnded,
    RunStarted,
)
from antichain.testing import virtual_time
from antichain.views.board import KEPT_QUESTION, KEPT_ROWS, LISTED, SHOWN_ASKING, Board
from antichain.views.look import Bar, Look, Single, Wait


class Played:
    """A board, and events for it."""

    def __init__(self, *nodes: str, count: int = 0, limits: dict[str, int] | None = None, most: int = 2**62) -> None:
        self.board = Board()
        self._seq = 0
        plan = Graph("g")
        for node in nodes:
            plan.add(node, print, runner="loop")
        sizes = {name: Slots(name, size) for name, size in (limits or {}).items()}
        outline = Outline(nodes, plan.plan().shape, sizes, most) if nodes else Outline((), None, sizes, most)
        self.tell(RunStarted(0, 0.0, "r", "g", count or len(nodes), outline=outline))

    def tell(self, event: Event) -> None:
        self.board(event)

    def enter(self, at: float, node: str, group: str, uses: Any = (), of: int | None = None) -> None:
        self.tell(NodeEntered(0, at, "r", node, None, group, (), uses, of))

    def ready(self, at: float, *nodes: str, attempt: int = 1) -> None:
        for node in nodes:
            self.tell(NodeReady(0, at, "r", node, attempt))

    def start(self, at: float, *nodes: str, attempt: int = 1) -> None:
        for node in nodes:
            self.tell(NodeStarted(0, at, "r", node, attempt))

    def ask(self, at: float, node: str, text: str = "Well?", number: int = 1) -> None:
        self.tell(NodeAsks(0, at, "r", node, 1, text, number))

    def answer(self, at: float, node: str, number: int = 1) -> None:
        self.tell(NodeAnswered(0, at, "r", node, 1, number))

    def retry(self, at: float, node: str, delay: float, error: Exception, attempt: int = 1) -> None:
        self.tell(NodeRetrying(0, at, "r", node, attempt, delay, error))

    def end(self, at: float, *nodes: str, state: str = "succeeded", error: Exception | None = None) -> None:
        for node in nodes:
            self.tell(NodeEnded(0, at, "r", node, 1, state, "output", error, None))

    def run(self, at: float, until: float, *nodes: str) -> None:
        self.ready(at, *nodes)
        self.start(at, *nodes)
        self.end(until, *nodes)

    def look(self, at: float) -> Look:
        return self.board.look(at)

    def row(self, at: float, label: str) -> Bar | Single:
        return next(row for row in self.look(at).rows if row.label == label)


def test_few_nodes_are_listed_one_by_one() -> None:
    played = Played("a", "b", "c", "d")
    played.run(0, 2, "a")
    played.ready(2, "b", "c")
    played.start(3, "b")
    assert played.look(7).rows == (
        Single("a", "succeeded", 2.0, 1),
        Single("b", "running", 4.0, 1),
        Single("c", "waiting", 5.0, 1),
        Single("d", "pending", None, 1),
    )


def test_what_waits_for_a_person_says_so_and_holds_no_slots() -> None:
    played = Played("a", "b", limits={"one": 1}, most=1)
    played.ready(0, "a", "b")
    played.start(0, "a")
    played.ask(2, "a", "Delete 3?")
    played.ask(3, "a", "Delete 4?", 2)
    look = played.look(14)
    assert look.rows[0] == Single("a", "asking", 12.0, 1, (), None, "Delete 3? (and 1 more)")
    assert (look.head.running, look.asking_count, look.asking, look.waits) == (0, 1, (), ())
    played.start(14, "b")
    played.answer(15, "a")
    assert played.row(16, "a") == Single("a", "asking", 13.0, 1, (), None, "Delete 4?")
    played.answer(17, "a", 2)
    assert played.row(18, "a") == Single("a", "running", 18.0, 1)
    assert (played.look(18).head.running, played.look(18).asking_count) == (2, 0)
    # Nobody has asked that, or not any more.
    played.answer(18, "a", 2)
    played.answer(18, "nobody")
    played.ask(18, "nobody")
    played.end(19, "a", "b")
    assert (played.look(19).head.running, played.look(19).asking_count) == (0, 0)


def test_an_attempt_that_ends_asks_nothing_any_more() -> None:
    played = Played("a", "b")
    played.ready(0, "a", "b")
    played.start(0, "a", "b")
    played.ask(1, "a")
    played.ask(1, "b", "Go?")
    played.retry(2, "a", 3.0, ValueError("late"))
    played.tell(NodeEnded(0, 2.0, "r", "b", 1, "cancelled", "paused", None, None))
    look = played.look(3)
    assert [row.state for row in look.rows] == ["backing off", "paused"]
    assert look.rows[1] == Single("b", "paused", 2.0, 1, (), None, "Go?")
    assert (look.asking_count, look.head.running) == (0, 0)
    # Nobody has answered b: it is left for another day, and has not ended for those who look.
    assert (look.head.ended, look.head.known) == (0, 2)
    played.ready(5, "a", attempt=2)
    played.start(5, "a", attempt=2)
    assert (played.row(6, "a").state, played.look(6).head.running) == ("running", 1)


def test_of_many_the_questions_that_wait_longest_are_shown() -> None:
    played = Played("load", count=100, limits={"one": 100})
    names = [f"n{number}" for number in range(SHOWN_ASKING + 3)]
    played.ready(0, *names)
    played.start(0, *names)
    for at, name in enumerate(reversed(names)):
        played.ask(at, name, "x" * 5000)
    look = played.look(20)
    assert [each.label for each in look.asking] == names[: -SHOWN_ASKING - 1 : -1]
    assert [each.seconds for each in look.asking] == [20.0, 19.0, 18.0, 17.0, 16.0]
    assert (look.asking_count, look.running, len(look.asking[0].asks)) == (SHOWN_ASKING + 3, (), KEPT_QUESTION)


def test_many_nodes_are_not_listed() -> None:
    played = Played(*[f"n{number}" for number in range(LISTED + 1)])
    played.run(0, 2, "n3")
    look = played.look(3)
    assert look.rows == ()
    assert (look.head.ended, look.head.total, look.head.seconds) == (1, LISTED + 1, 3.0)


def test_a_mapped_stage_is_one_row() -> None:
    played = Played("pages")
    played.run(0, 9, "load")
    played.ready(0, "pages")
    played.start(0, "pages")
    for number in range(3):
        played.enter(1, f"pages[{number}]", "pages", of=10)
        played.ready(1, f"pages[{number}]")
    played.start(1, "pages[0]", "pages[1]")
    played.end(2, "pages[0]")
    [row] = played.look(4).rows
    assert isinstance(row, Bar)
    assert (row.label, row.ended, row.known, row.total, row.running, row.state) == ("pages", 1, 3, 10, 1, "")
    # The stage itself only waits for its instances.
    assert played.look(4).head.running == 1


def test_what_a_budget_has_left_of_a_stage_has_not_ended() -> None:
    played = Played("pages")
    played.start(0, "pages")
    for number in range(4):
        played.enter(0, f"pages[{number}]", "pages", of=4)
    played.start(0, "pages[0]", "pages[1]")
    played.end(1, "pages[0]")
    for name in ("pages[1]", "pages[2]", "pages[3]", "pages"):
        played.tell(NodeEnded(0, 2.0, "r", name, 1, "cancelled", "budget", None, None))
    look = played.look(3)
    (row,) = [row for row in look.rows if isinstance(row, Bar)]
    assert (row.ended, row.known, row.state) == (1, 4, "paused")
    assert (look.head.ended, look.head.known, look.states) == (1, 5, {"succeeded": 1, "paused": 4})


def test_a_stage_of_unknown_length_has_no_total_once_it_grows() -> None:
    played = Played("pages")
    played.run(0, 0, "load")
    played.ready(0, "pages")
    played.start(0, "pages")
    played.enter(0, "pages[0]", "pages")
    played.enter(0, "pages[1]", "pages")
    assert played.row(0, "pages").total == 2
    played.run(0, 1, "pages[0]")
    played.enter(1, "pages[2]", "pages")
    assert played.row(1, "pages").total is None
    assert played.look(1).head.total is None
    played.run(1, 2, "pages[1]", "pages[2]")
    played.end(2, "pages")
    assert played.row(2, "pages").total == 3
    assert played.look(2).head.total is not None


def test_what_goes_on_inside_an_instance_belongs_to_the_row_of_its_stage() -> None:
    """A map over graphs: the bar counts the instances, and what runs counts what runs."""
    played = Played("each")
    played.start(0, "each")
    for number in range(2):
        instance = f"each[{number}]"
        played.enter(0, instance, "each", of=2)
        played.start(0, instance)
        for name in ("a", "b"):
            played.enter(0, f"{instance}/{name}", instance)
            played.start(0, f"{instance}/{name}")
    [row] = played.look(0).rows
    assert isinstance(row, Bar)
    assert (row.ended, row.total, row.running) == (0, 2, 4)
    played.end(1, "each[0]/a", "each[0]/b", "each[0]")
    [row] = played.look(1).rows
    assert isinstance(row, Bar)
    assert (row.ended, row.total, row.running) == (1, 2, 2)


def test_a_graph_in_a_graph_has_a_row_inside_the_other() -> None:
    played = Played("outer")
    played.start(0, "outer")
    for name in ("inner", "x"):
        played.enter(0, f"outer/{name}", "outer")
    played.start(0, "outer/inner")
    for name in ("a", "b"):
        played.enter(0, f"outer/inner/{name}", "outer/inner")
    rows = played.look(0).rows
    assert [(row.label, row.depth, row.total) for row in rows if isinstance(row, Bar)] == [
        ("outer", 0, 2),
        ("inner", 1, 2),
    ]
    played.end(1, "outer/inner/a", "outer/inner/b", "outer/inner")
    assert [row.label for row in played.look(1).rows] == ["outer"]


def test_a_body_that_runs_more_has_lent_its_slots() -> None:
    played = Played("a", limits={"llm": 1})
    played.enter(0, "agent", "", (("llm", 1),))
    played.ready(0, "agent")
    played.start(0, "agent")
    played.enter(1, "agent/tool", "agent", (("llm", 1),))
    played.ready(1, "agent/tool")
    assert played.look(1).waits == ()
    assert played.look(1).head.running == 0
    played.start(1, "agent/tool")
    played.enter(1, "other", "", (("llm", 1),))
    played.ready(1, "other")
    assert played.look(1).waits == (Wait("llm", 1, 1, 1),)
    played.end(2, "agent/tool")
    assert played.look(2).head.running == 1
    assert played.look(2).waits == (Wait("llm", 1, 1, 1),)
    played.end(3, "agent")
    assert played.look(3).waits == ()


def test_who_waits_for_what() -> None:
    played = Played("a", limits={"web": 3, "db": 1}, most=3)
    for number in range(6):
        played.enter(0, f"w{number}", "", (("web", 2),))
        played.enter(0, f"d{number}", "", (("db", 1), ("web", 1)))
    played.ready(0, "w0", "w1", "d0", "d1")
    played.start(0, "w0", "d0")
    assert played.look(0).waits == (Wait("web", 2, 3, 3), Wait("db", 1, 1, 1))
    played.ready(0, "a")
    played.end(1, "w0")
    # d1 waits for db alone now; w1 could start.
    assert played.look(1).waits == (Wait("db", 1, 1, 1),)
    played.start(1, "w1")
    played.enter(1, "p", "")
    played.ready(1, "p")
    played.start(1, "p")
    assert [wait for wait in played.look(1).waits if wait.limit == "max_concurrent"] == [
        Wait("max_concurrent", 1, 3, 3)
    ]


def test_retries() -> None:
    played = Played("a", "b")
    problem = TimeoutError("slow")
    for node, delay in (("a", 5.0), ("b", 3.0)):
        played.ready(0, node)
        played.start(0, node)
        played.retry(1, node, delay, problem)
    look = played.look(2)
    assert look.retrying is not None
    assert (look.retrying.now, look.retrying.so_far, look.retrying.next_in) == (2, 2, 2.0)
    assert (look.retrying.node, look.retrying.error) == ("b", problem)
    assert look.rows[0] == Single("a", "backing off", 4.0, 2, (), problem)
    played.ready(4, "b", attempt=2)
    assert played.look(4).retrying.next_in == 2.0
    played.start(4, "b", attempt=2)
    assert played.row(5, "b") == Single("b", "running", 1.0, 2)
    played.end(6, "a", state="cancelled")
    assert played.look(6).retrying.next_in is None
    assert played.look(6).retrying.so_far == 2


def test_failures_are_the_last_ones() -> None:
    played = Played(*[f"n{number}" for number in range(20)])
    for number in range(5):
        played.ready(number, f"n{number}")
        played.start(number, f"n{number}")
        played.end(number, f"n{number}", state="failed", error=ValueError(number))
    look = played.look(5)
    assert [failure.node for failure in look.failures] == ["n2", "n3", "n4"]
    assert look.head.failed == 5


def test_what_runs_longest_comes_first_and_only_after_a_second() -> None:
    played = Played(*[f"n{number}" for number in range(20)])
    played.ready(0, "n5", "n3", "n9")
    played.start(0, "n5")
    played.start(1, "n3")
    played.start(2.5, "n9")
    assert [(each.label, each.seconds) for each in played.look(3).running] == [("n5", 3.0), ("n3", 2.0)]


def test_time_left_is_said_only_where_it_is_known() -> None:
    names = [f"n{number}" for number in range(40)]
    played = Played(*names)
    assert played.look(0).head.left is None
    for number in range(4):
        played.run(number, number + 1, names[number])
    assert played.look(4).head.left is None
    for number in range(4, 20):
        played.run(number, number + 1, names[number])
    assert played.look(20).head.left == 20.0
    # Nothing ends any more: it takes longer and longer.
    assert played.look(40).head.left > 60
    played.enter(40, "stage", "")
    played.start(40, "stage")
    played.enter(40, "stage[0]", "stage", of=10)
    assert played.look(40).head.left is None


def test_single_nodes_tell_nothing_of_each_other() -> None:
    """Ten nodes have taken a second each; the last one may take an hour."""
    names = [f"n{number}" for number in range(LISTED)]
    played = Played(*names)
    for number in range(LISTED - 1):
        played.run(number, number + 1, names[number])
    assert played.look(LISTED).head.pace is not None
    assert played.look(LISTED).head.left is None


def test_the_run_ends_when_its_longest_row_does() -> None:
    played = Played("a", "b")
    played.start(0, "a", "b")
    for number in range(30):
        played.enter(0, f"a[{number}]", "a", of=30)
        played.enter(0, f"b[{number}]", "b", of=30)
    for number in range(10):
        played.run(number, number + 1, f"a[{number}]")
        played.run(number, number + 1, f"b[{2 * number}]", f"b[{2 * number + 1}]")
    # The last mark of b's pace was made between two nodes that ended together.
    assert (played.row(10, "a").left, round(played.row(10, "b").left)) == (20.0, 5)
    assert played.look(10).head.left == 20.0


def test_ended_instances_are_forgotten() -> None:
    """A million of them must not cost memory: here so many that a leak of 50 bytes each would show."""
    played = Played("stage")
    played.ready(0, "stage")
    played.start(0, "stage")
    tracemalloc.start()
    try:
        for number in range(20_000):
            played.enter(number, f"stage[{number}]", "stage", (("llm", 1),))
            if number % 3 == 1:
                played.ready(number, f"stage[{number}]")
                played.start(number, f"stage[{number}]")
                played.retry(number, f"stage[{number}]", 1.0, ValueError())
            if number % 3 == 2:
                played.end(number, f"stage[{number}]", state="cancelled")
            else:
                played.run(number, number, f"stage[{number}]")
            if number == 1000:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()
    assert played.look(1).head.ended == 20_000


def test_rows_of_containers_that_ended_are_kept_up_to_a_number() -> None:
    names = [f"c{number}" for number in range(300)]
    played = Played(*names)
    for at, name in enumerate(names):
        played.start(at, name)
        played.enter(at, f"{name}/a", name)
        played.enter(at, f"{name}/b", name)
        played.run(at, at, f"{name}/a", f"{name}/b")
        played.end(at, name)
    rows = played.look(300).rows
    assert len(rows) == KEPT_ROWS + 1
    assert rows[0].label == "own nodes"
    assert rows[-1].label == "c299"


def test_the_end() -> None:
    played = Played("a")
    played.run(0, 1, "a")
    assert played.look(1).status is None
    played.tell(RunEnded(9, 2.0, "r", "succeeded"))
    look = played.look(0)
    assert (look.status, look.head.state, look.head.seconds, look.states) == (
        "succeeded",
        "succeeded",
        2.0,
        {"succeeded": 1},
    )


def test_counts_add_up_in_random_runs() -> None:
    """Whatever a run does: nothing is left of it at the end, and everything was counted."""
    for seed in range(60):
        events, names = random_run(seed)
        board = Board()
        for event in events:
            board(event)
            look = board.look(event.time)
            assert 0 <= look.head.ended <= look.head.known
            assert look.head.running >= 0
            assert all(wait.used >= 0 and wait.nodes > 0 for wait in look.waits)
            for row in look.rows:
                assert not isinstance(row, Bar) or (0 <= row.ended <= row.known and row.running >= 0), (seed, row)
        look = board.look(0)
        assert look.head.ended == look.head.known == len(names)
        assert look.head.running == 0
        assert (board._live, board._plain, board._running, board._planned) == ({}, {}, {}, {})
        assert (board._holding, board._growing, board._own.inner, board._own.running) == (0, 0, 0, 0)
        assert all(limit.used == 0 for limit in board._limits.values())
        assert all(demand.waiting == 0 for demand in board._demands.values())
        assert look.waits == ()
        assert look.retrying is None or look.retrying.now == 0


def random_run(seed: int) -> tuple[list[Event], set[str]]:
    """Events of a real run, in virtual time, of a graph with all that can happen in one."""
    rng = random.Random(seed)
    graph = Graph("g", limits={"llm": 2, "db": 3})
    events: list[Event] = []

    async def work(x: int = 0) -> int:
        await asyncio.sleep(rng.random())
        if rng.random() < 0.25:
            raise ValueError("by chance")
        return x

    async def agent(ctx: Context) -> None:
        for _ in range(rng.randrange(3)):
            await asyncio.gather(ctx.run(work), ctx.run(inner()), return_exceptions=True)
        await work()

    def inner() -> Graph:
        graph = Graph("inner")
        graph.add("one", work)
        graph.map("many", work, over=range(rng.randrange(4)), uses="db")
        return graph

    def policies() -> dict[str, Any]:
        again = Retry(attempts=rng.randrange(1, 4), backoff=Backoff(initial=0.1))
        return {"uses": rng.choice([None, "llm", {"llm": 1, "db": 2}]), "retry": again}

    for number in range(rng.randrange(1, 25)):
        match rng.randrange(4):
            case 0:
                graph.add(f"agent{number}", agent, **policies())
            case 1:
                graph.map(f"stage{number}", work, over=range(rng.randrange(9)), max_concurrent=2, **policies())
            case 2:
                graph.add(f"graph{number}", inner())
            case _:
                graph.add(f"node{number}", work, **policies())
    mode = rng.choice(["cancel", "drain", "continue"])
    with virtual_time() as clock:
        try:
            clock.run(graph.arun(listeners=[events.append], on_error=mode, seed=seed, deadline=rng.choice([None, 2.0])))
        except Exception as error:  # a failed run is one of the things that happen
            assert hasattr(error, "result"), error
    return events, {event.node for event in events if event.node is not None}


def test_random_runs_have_everything_in_them() -> None:
    kinds: set[type] = set()
    groups = 0
    for seed in range(60):
        for event in random_run(seed)[0]:
            kinds.add(type(event))
            groups += isinstance(event, NodeEntered) and "/" in event.group
    assert kinds >= {RunStarted, NodeEntered, NodeReady, NodeStarted, NodeRetrying, NodeEnded, RunEnded}
    assert groups > 20
