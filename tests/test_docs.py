"""
The documentation does what it says: its blocks and examples run, and it names everything there is, and nothing else.
"""

import ast
import asyncio
import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

import antichain
from antichain import testing
from antichain.cli.application import _application
from antichain.core.facts import Event
from antichain.core.states import REASON_NAMES, STATE_NAMES
from antichain.policies import NODE_POLICIES, RUN_OPTIONS
from antichain.telemetry import names as telemetry_names
from tests.support.page import NOTEBOOK, blocks_of, is_as_shown

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RUNNER = ROOT / "tests" / "support" / "page.py"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
RUN_PAGES = [name for name in PAGES if any(not block.is_drawing for block in blocks_of((DOCS / name).read_text()))]
DESIGN = (DOCS / "explanation" / "design.md").read_text(encoding="utf-8")
REFERENCE = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")}

Done = subprocess.CompletedProcess[str]


# ---------------------------------------------------------------------- what runs


def run_page(page: Path, folder: Path) -> Done:
    """Run a page's blocks as one program in a fresh process and an empty folder."""
    folder.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANTICHAIN", "OTEL"))}
    return subprocess.run(
        [sys.executable, "-W", "error", RUNNER, page],
        capture_output=True, text=True, timeout=120, cwd=folder, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Done]]]:
    """All pages that are asked for, two at once."""
    chosen = {
        item.callspec.params["page"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_blocks_of_a_page_run.__name__
    }
    folder = tmp_path_factory.mktemp("pages")
    with ThreadPoolExecutor(2) as pool:
        yield {page: pool.submit(run_page, DOCS / page, folder / page) for page in RUN_PAGES if page in chosen}


@pytest.mark.parametrize("page", RUN_PAGES)
def test_blocks_of_a_page_run(page: str, running: dict[str, Future[Done]]) -> None:
    done = running[page].result()
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert not done.stderr


def test_pages_with_code_are_found() -> None:
    assert len(RUN_PAGES) >= 15
    assert "tutorial.md" in RUN_PAGES
    assert "what-happens-if.md" not in RUN_PAGES


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```python\nprint(1)\n```\n```text title=\"Output\"\n2\n```", "page.md:5: the page shows\n2\nbut it is\n1"),
        ("```python\nraise OSError('gone')\n```", 'page.md", line 2, in <module>'),
        ("```python\nimport warnings; warnings.warn('old')\n```", "UserWarning: old"),
        ("```python\nimport asyncio\nasync def f(): ...\nf(), None\n```", "was never awaited"),
        ("```python\nawait f()\n```", "SyntaxError: 'await' outside function"),
        ("```sh\nexit 3\n```", "page.md:2: exit 3: exit code 3"),
        ("```sh\necho no >&2\n```", "it printed to standard error"),
        ("```python title=\"one.py\"\nx = 1\n```\n```sh\npython one.py && cat two.py\n```", "two.py: No such file"),
    ],
    ids=lambda text: text[:40].replace("\n", " "),
)  # fmt: skip
def test_a_page_that_is_wrong_is_noticed(text: str, fault: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    done = run_page(page, tmp_path / "folder")
    assert done.returncode != 0
    assert fault in done.stdout + done.stderr


@pytest.mark.parametrize("fence", ["```pycon", "```bash", "    ```python", '```text title="Result"', "```python"])
def test_a_block_that_would_not_be_run_is_refused(fence: str) -> None:
    end = "" if fence == "```python" else "\n```"
    with pytest.raises(ValueError, match="line"):
        blocks_of(f"{fence}\n1\n{end}")


def test_shown_output_may_leave_out() -> None:
    assert is_as_shown("a ... c\n", "a b c  \n\n")
    assert is_as_shown("a\n...\nd", "a\nb\nc\nd")
    assert not is_as_shown("a ... c", "a b")
    assert not is_as_shown("a.c", "abc")


def test_a_notebook_page_may_await(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = (
        f'{NOTEBOOK}\n```python\nimport asyncio\nprint(await asyncio.sleep(0, 1))\n```\n```text title="Output"\n1\n```'
    )
    page.write_text(text, encoding="utf-8")
    assert run_page(page, tmp_path / "folder").returncode == 0


def modules() -> list[str]:
    found = pkgutil.walk_packages(antichain.__path__, "antichain.")
    return sorted(each.name for each in found if not each.name.endswith("__main__"))


def test_examples_in_docstrings_run() -> None:
    given = {"antichain": antichain, "asyncio": asyncio, "Graph": antichain.Graph, "Limit": antichain.Limit}
    attempted = 0
    for name in modules():
        result = doctest.testmod(importlib.import_module(name), extraglobs=given)
        assert result.failed == 0, name
        attempted += result.attempted
    assert attempted >= 30


def test_no_example_is_left_out() -> None:
    source = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    assert not any("doctest: +SKIP" in text for text in source)


# ---------------------------------------------------------------------- what is named


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(named) == PAGES


@pytest.mark.parametrize(("package", "prefix"), [(antichain, "antichain"), (testing, "antichain.testing")])
def test_every_public_name_is_in_the_reference(package: object, prefix: str) -> None:
    text = "\n".join(REFERENCE.values())
    shown = set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    constants = {name for name in package.__all__ if name.isupper() or name.startswith("__")}  # type: ignore[attr-defined]
    names = set(package.__all__) - constants  # type: ignore[attr-defined]
    # An estimate has its place with the plan.
    missing = [name for name in names if not {f"{prefix}.{name}", f"antichain.{name}"} & shown]
    assert missing == []
    assert [name for name in constants if not re.search(rf"`(antichain\.)?{name}`", text)] == []


def first_cells(page: str) -> set[str]:
    """The words in code of the first column of every table of a page of the reference."""
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", REFERENCE[page], re.MULTILINE)
    return {word for cell in cells for code in re.findall(r"`([^`]+)`", cell) for word in re.findall(r"^[\w-]+", code)}


def test_every_policy_and_option_is_in_the_reference() -> None:
    assert set(NODE_POLICIES) | RUN_OPTIONS <= first_cells("policies")


def test_every_field_of_a_record_is_in_the_reference() -> None:
    assert set(antichain.NodeRecord.__dataclass_fields__) <= first_cells("results")
    assert set(antichain.Estimate.__dataclass_fields__) == first_cells("graph")


def test_every_field_of_an_event_is_in_the_reference() -> None:
    common = {"seq", "time", "run_id", "node", "attempt"}
    for kind in get_args(Event):
        row = re.search(rf"^\| `{kind.__name__}` \|(.*)$", REFERENCE["events"], re.MULTILINE)
        assert row is not None, kind
        assert set(re.findall(r"`(\w+)`", row[1])) - {"NodeRecord"} == set(kind._fields) - common


def test_every_state_and_reason_is_in_the_reference() -> None:
    named = set(re.findall(r"`([\w ]+)`", REFERENCE["results"]))
    assert {*STATE_NAMES, *REASON_NAMES} - {""} <= named


def test_every_name_of_telemetry_is_in_the_reference() -> None:
    texts = {text for name, text in vars(telemetry_names).items() if name.isupper()} - {telemetry_names.SCOPE}
    assert len(texts) > 20
    assert [text for text in sorted(texts) if text not in REFERENCE["telemetry"]] == []


# Any: typer has click's classes, in some releases under names of its own.
def options_of(command: Any) -> set[str]:
    params = command.get_params(typer.Context(command))
    return {word for each in params for word in (*each.opts, *each.secondary_opts) if word.startswith("-")}


def test_every_option_of_the_command_is_in_the_reference() -> None:
    command: Any = typer.main.get_command(_application())
    options = {f"antichain {name}": options_of(each) for name, each in command.commands.items()}
    options["antichain"] = options_of(command)
    assert {"antichain run", "antichain plan", "antichain demo"} <= options.keys()
    shown = {}
    for section in re.split(r"^## ", REFERENCE["command-line"], flags=re.MULTILINE):
        title, _, text = section.partition("\n")
        if title.startswith("antichain"):
            rows = re.findall(r"^\| (`-[^|]*) \|", text, re.MULTILINE)
            shown[title] = {word for row in rows for word in re.findall(r"`(--[\w-]+)", row)}
    assert shown == options


def fault_codes() -> set[str]:
    codes = set()
    for path in (ROOT / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                if name.lower() == "fault":
                    codes.add(call.args[0].value)
    return codes


def test_every_code_of_an_error_is_in_the_reference() -> None:
    codes = fault_codes()
    assert len(codes) > 20
    errors = {name for name in antichain.__all__ if isinstance(getattr(antichain, name), type)}
    assert first_cells("errors") - errors == codes


# ---------------------------------------------------------------------- the tour


def test_files_that_the_tour_names_exist() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", DESIGN))
    assert len(named) > 20
    assert [
        name for name in sorted(named) if not ((ROOT / "src/antichain" / name).exists() or (ROOT / name).exists())
    ] == []


def test_the_tour_passes_every_module_of_the_spine() -> None:
    """A module that nobody is led to is one that nobody reads; helpers of a folder are its own affair."""
    spine = {path.name for path in (ROOT / "src" / "antichain").glob("*.py")} - {"__main__.py"}
    aside = {"runnable.py", "context.py", "tasks.py", "printable.py"}
    assert spine - aside - set(re.findall(r"`(\w+\.py)`", DESIGN)) == set()


def test_links_lead_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_parts_that_the_tour_names_exist() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    named = re.findall(r"`(_\w+|[A-Z]\w+)`", DESIGN)
    assert "_work" in named
    theirs = {"TaskGroup"}
    assert [name for name in named if name not in theirs and not re.search(rf"\b{name}\b", source)] == []
