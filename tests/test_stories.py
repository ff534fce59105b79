"""
The stories of `examples/stories` in processes of their own, as a reader runs them; what they claim is looked up in the
log of the provider that they asked.
"""

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from antichain import Context
from antichain.testing import Failure, FakeProvider, LogEntry
from tests.support.memory import high_water, high_water_to_the_end
from tests.support.page import blocks_of, is_as_shown

pytestmark = pytest.mark.slow  # half of them wait for seconds that somebody else takes

ROOT = Path(__file__).resolve().parent.parent
STORIES = ROOT / "examples" / "stories"
NAMES = sorted(path.stem for path in STORIES.glob("*.py"))
PAGE = ROOT / "docs" / "how-to" / "stories.md"
# Seconds for what takes a few on a machine that has nothing else to do.
PATIENCE = 120
# What clocks and timers may be early by.
TICK = 0.01


def story(name: str) -> ModuleType:
    """The module of a story, fresh: what one test changes is not there in the next."""
    spec = importlib.util.spec_from_file_location(f"story_{name}", STORIES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTICHAIN_"))}
    return {**kept, "NO_COLOR": "1", "PYTHONWARNINGS": "error", "COLUMNS": "100", **more}


def start(name: str, *arguments: object, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, STORIES / f"{name}.py", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def play(name: str, *arguments: object, typed: str = "", **more: str) -> tuple[str, str]:
    """Run a story to its good end, and return what it printed."""
    with start(name, *arguments, **more) as process:
        try:
            out, err = process.communicate(typed, PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, err
    return out, err


def until(condition: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.01)


def most_at_once(entries: Iterable[LogEntry]) -> int:
    """The most calls that were under way at any time, from their arrival on; those that were refused count too."""
    steps = []
    for entry in entries:
        assert entry.ended_at is not None
        steps += [(entry.arrived_at, 1), (entry.ended_at, -1)]
    # An end comes before a beginning at the same moment.
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def prompt(entry: LogEntry) -> str:
    assert entry.body is not None
    return str(entry.body["messages"][-1]["content"])


# ---------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", NAMES)
def test_a_story_is_short_and_says_how_to_run_it(name: str) -> None:
    text = (STORIES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    head = text.split('"""')[1]
    assert f"    python examples/stories/{name}.py" in head
    assert "--model URL" in head
    assert "OPENAI_BASE_URL" in head
    assert "max_retries=0" in text


def commands() -> list[tuple[str, str]]:
    """Commands of the page, each with what it prints there."""
    texts = [block.text for block in blocks_of(PAGE.read_text(encoding="utf-8")) if block.text.startswith("$ ")]
    return [(text.partition("\n")[0][2:], text.partition("\n")[2]) for text in texts]


def test_the_page_has_every_story() -> None:
    assert sorted(re.findall(r"stories/(\w+)\.py", "\n".join(command for command, _ in commands()))) == NAMES


@pytest.mark.parametrize(("command", "shown"), commands(), ids=lambda text: text.partition(".py")[0][-20:])
def test_a_command_of_the_page_prints_what_it_shows(command: str, shown: str, tmp_path: Path) -> None:
    """Offline, without a key, from the top of the repository."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        input="yes\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=ROOT,
        env=environment(PATH=path, TMPDIR=str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    assert is_as_shown(shown, done.stdout), done.stdout


def test_any_endpoint_may_be_named_in_the_environment() -> None:
    with story("matrix").STAND_IN as provider:
        provider.latency, provider.models = 0.0, None
        out, _ = play("matrix", OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="secret", OPENAI_MODEL="mine,large")
        assert {entry.model for entry in provider.log} == {"mine", "large"}
    assert out.startswith("mine: terse 3/6 ")


# ---------------------------------------------------------------------- research


def test_research_asks_for_every_summary_once_and_obeys_the_provider() -> None:
    module = story("research")
    topics = module.TOPICS.split()
    with module.STAND_IN as provider:
        out, err = play("research", "--model", provider.url)
        log = provider.log
    answered = [entry for entry in log if entry.outcome == "answered"]
    refused = [entry for entry in log if entry.status == 429]
    assert len(answered) + len(refused) == len(log)
    # Each topic but the one that was never found, and all of them together.
    assert [sum(f"what {topic} is for" in prompt(entry) for entry in answered) for topic in topics] == [1] * 11 + [0]
    assert prompt(answered[-1]).startswith("What have these in common?")
    assert len(answered) == 12
    assert answered[-1].arrived_at >= max(entry.ended_at or 0 for entry in answered[:-1])
    assert most_at_once(answered) >= 2
    # What is refused comes again, and not before it was told to.
    assert refused
    for entry in refused:
        assert entry.ended_at is not None
        again = next(each for each in log[entry.number :] if prompt(each) == prompt(entry))
        assert again.arrived_at >= entry.ended_at + 0.2 - TICK
    # In the order of the topics.
    lines = [line for line in out.splitlines() if re.match(rf"({'|'.join(topics)}): ", line)]
    assert [line.partition(":")[0] for line in lines] == topics
    assert lines[-1] == "xyzzy: (nothing found)"
    assert "the search engine hung up" in err


def test_research_keeps_its_own_limit_where_the_provider_has_none() -> None:
    with FakeProvider(latency=1.0) as provider:
        play("research", "--model", provider.url)
        assert 2 <= most_at_once(provider.log) <= 6
        assert provider.count(200) == len(provider.log) == 12


def test_research_summarizes_each_topic_when_its_search_is_done() -> None:
    """No barrier: while others are still searched."""
    module = story("research")
    found: dict[str, float] = {}
    search = module.search

    async def noted(topic: str, ctx: Context) -> Any:
        page = await search(topic, ctx)
        found[topic] = time.monotonic()
        return page

    module.search = noted
    with story("research").STAND_IN as provider:
        # The clocks of the log and of this process are one.
        asyncio.run(as_in_a_child(module, provider.url))
        log = provider.log
    asked = {topic: next(each.arrived_at for each in log if f"what {topic} is for" in prompt(each)) for topic in found}
    assert len(asked) == 11
    assert all(asked[topic] >= found[topic] for topic in found)
    assert min(asked.values()) < max(found.values())


async def as_in_a_child(module: ModuleType, url: str) -> None:
    """A story's main, in this process, with another provider's URL."""
    key = os.environ.setdefault("OPENAI_API_KEY", "none")
    try:
        await module.main(url)
    finally:
        if key == "none":
            del os.environ["OPENAI_API_KEY"]


def test_research_holds_no_slot_while_it_waits_to_ask_again() -> None:
    """Six slots; a provider that refuses all for an hour is still asked for all eleven summaries."""
    refusing = FakeProvider(allowed=0, retry_after=3600)
    with refusing as provider, start("research", "--model", provider.url) as process:
        try:
            until(lambda: provider.count(429) >= 11, "fewer than eleven summaries were asked for")
            assert len({prompt(entry) for entry in provider.log}) == len(provider.log) == 11
        finally:
            process.kill()


# ---------------------------------------------------------------------- matrix


@pytest.fixture(scope="module")
def matrix() -> tuple[str, list[LogEntry]]:
    with story("matrix").STAND_IN as provider:
        # Twelve times as slow as the other: three seconds in all.
        provider.latency = lambda request: 0.6 if request.model == "large" else 0.05
        out, _ = play("matrix", "--model", provider.url)
        return out, provider.log


def test_matrix_fills_every_cell_once(matrix: tuple[str, list[LogEntry]]) -> None:
    out, log = matrix
    module = story("matrix")
    cells = {text.format(case) for text in module.PROMPTS.values() for case in module.CASES}
    for model in ("small", "large"):
        answered = [prompt(entry) for entry in log if entry.model == model and entry.outcome == "answered"]
        assert Counter(answered) == Counter(cells)
    small, large, retired = out.splitlines()
    assert small == "small: terse 3/6 steps 6/6 polite 3/6 (all answered)"
    assert large == "large: terse 6/6 steps 6/6 polite 6/6 (all answered)"
    assert retired.startswith("retired: terse 0/6 steps 0/6 polite 0/6 (18 failed: ")


def test_matrix_asks_again_what_failed_and_not_what_is_not_there(matrix: tuple[str, list[LogEntry]]) -> None:
    _, log = matrix
    failed = [entry for entry in log if entry.status == 503]
    assert failed
    for entry in failed:
        assert any(each.body == entry.body and each.outcome == "answered" for each in log[entry.number :])
    assert Counter(entry.status for entry in log if entry.model == "retired") == {404: 18}


def test_matrix_keeps_the_limit_of_each_model_and_none_waits_for_another(matrix: tuple[str, list[LogEntry]]) -> None:
    _, log = matrix
    of = {model: [entry for entry in log if entry.model == model] for model in ("small", "large", "retired")}
    assert all(most_at_once(entries) <= 4 for entries in of.values())
    assert most_at_once(of["large"]) >= 2
    ends = {model: max(entry.ended_at or 0 for entry in entries) for model, entries in of.items()}
    assert max(ends["small"], ends["retired"]) < ends["large"]


# ---------------------------------------------------------------------- ingestion


def numbers(entry: LogEntry) -> list[int]:
    """The documents of a call for embeddings."""
    assert entry.body is not None
    return [int(title.removeprefix("Document ")) for title in entry.body["input"]]


def test_ingestion_stores_every_document_once_and_holds_a_window() -> None:
    with story("ingestion").STAND_IN as provider:
        with start("ingestion", "--model", provider.url) as process:
            try:
                until(lambda: provider.count(200) >= 20, "no embeddings were asked for")
                early = high_water(process.pid)
                late = high_water_to_the_end(process)
                out, _ = process.communicate()
            finally:
                process.kill()
        log = provider.log
    assert process.returncode == 0
    broken = list(range(7, 10_000, 500))
    answered = [entry for entry in log if entry.outcome == "answered"]
    assert Counter(number for entry in answered for number in numbers(entry)) == Counter(set(range(10_000)) - {*broken})
    first, *lines = out.splitlines()
    assert first == "9,980 stored, 20 failed:"
    assert [int(line.partition(":")[0]) for line in lines] == broken
    # The provider's limit, kept from this side: it refused nothing.
    assert 2 <= most_at_once(log) <= 4
    assert provider.count(429) == 0
    assert provider.count(503) > 0
    # No batch is begun before all but eight of those before it are done.
    for entry in log:
        batch = min(numbers(entry)) // 50
        done = sum((each.ended_at or 0) < entry.arrived_at for each in answered)
        assert done >= batch - 7
    # 55 MB have been read in the meantime.
    assert early is not None
    assert late - early < 45_000


def test_ingestion_reads_no_further_than_its_window_while_the_provider_hangs() -> None:
    module = story("ingestion")
    read: list[int] = []
    read_one = module.read

    def noted(number: int) -> Any:
        read.append(number)
        return read_one(number)

    async def stalled(provider: FakeProvider) -> None:
        run = asyncio.ensure_future(as_in_a_child(module, provider.url))
        limit = time.monotonic() + PATIENCE
        while not (len(read) == 400 and provider.in_flight == 4):
            assert time.monotonic() < limit, f"{len(read)} were read"
            assert not run.done()
            await asyncio.sleep(0.01)
        # Time for many more.
        await asyncio.sleep(0.3)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    with FakeProvider(failures=Failure("hang")) as provider:
        module.read = noted
        asyncio.run(stalled(provider))
        provider.wait_idle()
        assert [entry.outcome for entry in provider.log] == ["client left"] * 4
    assert sorted(read) == list(range(400))


# ---------------------------------------------------------------------- drop-in gather


@pytest.fixture(scope="module")
def gathered() -> tuple[str, list[list[LogEntry]]]:
    """What was printed, and the calls of both conversations."""
    with story("drop_in_gather").STAND_IN as provider:
        out, _ = play("drop_in_gather", "--model", provider.url)
        log = provider.log
    turns = [entry.number for entry in log if "tools" in (entry.body or {})]
    assert len(turns) == 4
    return out, [log[: turns[1]], log[turns[1] :]]


GOOD = [0, 2, 4, 5]


def test_drop_in_gather_answers_calls_in_order_and_keeps_the_good_ones(
    gathered: tuple[str, list[list[LogEntry]]],
) -> None:
    out, conversations = gathered
    contents = []
    for conversation in conversations:
        body = conversation[-1].body
        assert body is not None
        user, assistant, *answers = body["messages"]
        assert user["role"] == "user"
        assert [call["id"] for call in assistant["tool_calls"]] == [answer["tool_call_id"] for answer in answers]
        assert {answer["role"] for answer in answers} == {"tool"}
        contents.append([answer["content"] for answer in answers])
    by_gather, by_run_tool_calls = contents
    assert [by_gather[place] for place in GOOD] == [by_run_tool_calls[place] for place in GOOD]
    assert [text.split()[0] for text in (by_gather[place] for place in GOOD)] == ["Split", "Merge", "Wrap", "Fill"]
    assert "timeout is 1 s" in by_gather[1]
    assert by_gather[3].startswith("No Python documentation found for 'xyzzy'")
    assert '"code": "timeout"' in by_run_tool_calls[1]
    assert '"code": "crashed"' in by_run_tool_calls[3]
    assert all(text in out for text in [*by_gather, *by_run_tool_calls])


def test_drop_in_gather_makes_four_calls_at_once_and_leaves_none_running(
    gathered: tuple[str, list[list[LogEntry]]],
) -> None:
    _, conversations = gathered
    for first, *calls, last in conversations:
        assert "tools" in (first.body or {})
        assert len(calls) == 5
        (hung,) = [entry for entry in calls if entry.outcome == "client left"]
        assert "bisect.insort" in prompt(hung)
        assert hung.took is not None
        assert hung.took >= 0.9  # from a little before it came here
        # Given up before the model is asked again, and not when the program ends.
        assert hung.ended_at is not None
        assert last.ended_at is not None
        assert hung.ended_at < last.ended_at
        # The provider hears of it a little later than those who wait for its place.
        calls[calls.index(hung)] = replace(hung, ended_at=hung.ended_at - 0.5)
        assert 2 <= most_at_once(calls) <= 4


# ---------------------------------------------------------------------- approval


@pytest.fixture
def attic(tmp_path: Path) -> Path:
    """A folder to clean up, beside a file that a proposal names."""
    folder = tmp_path / "attic"
    folder.mkdir()
    for name in ("letter~", "plan.bak", "letter.txt", "junk.tmp"):
        (folder / name).write_text(name)
    (tmp_path / "precious.txt").write_text("precious")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder.parent)) for path in folder.parent.rglob("*") if path.is_file())


@contextmanager
def approval() -> Iterator[FakeProvider]:
    with story("approval").STAND_IN as provider:
        yield provider


ASKED = "Delete letter~, plan.bak, junk.tmp? [yes/no] "


def test_approval_deletes_only_what_was_approved(attic: Path) -> None:
    with approval() as provider:
        out, _ = play("approval", attic, "--model", provider.url, typed="yes\n")
    assert files(attic) == ["attic/letter.txt", "precious.txt"]
    assert out.startswith(ASKED)
    assert out.endswith("3 files were deleted\n")


@pytest.mark.parametrize(("typed", "times"), [("no\n", 1), ("perhaps\n\nN\n", 3)])
def test_approval_deletes_nothing_if_the_answer_is_no(attic: Path, typed: str, times: int) -> None:
    before = files(attic)
    with approval() as provider:
        out, _ = play("approval", attic, "--model", provider.url, typed=typed)
    assert files(attic) == before
    assert out.count(ASKED) == times
    assert out.endswith("nothing was deleted\n")


def test_approval_deletes_nothing_if_nobody_answers(attic: Path) -> None:
    before = files(attic)
    with approval() as provider, start("approval", attic, "--model", provider.url) as process:
        out, err = process.communicate("", PATIENCE)
    assert process.returncode == 1
    assert "EOFError" in err
    assert out == ASKED
    assert files(attic) == before


def test_approval_asks_about_nothing_where_nothing_was_found(tmp_path: Path) -> None:
    with approval() as provider:
        out, _ = play("approval", tmp_path, "--model", provider.url)
    assert "[yes/no]" not in out
    assert out.endswith("nothing was deleted\n")


def test_approval_lets_the_report_be_written_while_a_person_thinks(attic: Path) -> None:
    before = files(attic)
    with approval() as provider, start("approval", attic, "--model", provider.url) as process:

        def is_reported() -> bool:
            return any("report" in prompt(entry) and entry.ended_at is not None for entry in provider.log)

        provider.latency = lambda request: 3.0 if "report" in request.prompt else 0.2
        try:
            assert process.stdout is not None
            assert process.stdout.read(len(ASKED)) == ASKED
            assert not is_reported()
            # Nobody has answered, and nobody will before it is written.
            until(is_reported, "no report")
            assert files(attic) == before
            out, err = process.communicate("yes\n", PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert files(attic) == ["attic/letter.txt", "precious.txt"]


# ---------------------------------------------------------------------- planner


def test_planner_runs_steps_while_the_plan_is_written() -> None:
    with story("planner").STAND_IN as provider:
        # Four seconds for the plan; the first call has been written after half of them, and takes 0.2.
        provider.pace = 0.04
        out, _ = play("planner", "--model", provider.url)
        plan, *calls = provider.log
    assert plan.body is not None
    assert plan.body["stream"] is True
    assert '"name": "look_up"' in prompt(plan)
    assert [entry.outcome for entry in calls] == ["answered", "answered"]
    first, second = calls
    assert plan.ended_at is not None
    assert first.ended_at is not None
    assert first.ended_at < plan.ended_at
    # The second got what the first one and another tool have returned.
    assert second.arrived_at > first.ended_at
    assert "Merge multiple sorted inputs" in prompt(second)
    assert "Insert item x in list a" in prompt(second)
    lines = out.splitlines()
    assert lines[:3] == ["look up heapq.merge", "summarize 1", "look up bisect.insort"]
    assert "the plan is complete" in lines[3:]
