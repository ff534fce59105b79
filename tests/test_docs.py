"""
The pages name what exists.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DESIGN = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")


def test_files_that_the_tour_names_exist() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", DESIGN))
    assert len(named) > 20
    assert [
        name for name in sorted(named) if not ((ROOT / "src/antichain" / name).exists() or (ROOT / name).exists())
    ] == []


def test_the_tour_passes_every_module_of_the_spine() -> None:
    """A module that nobody is led to is one that nobody reads; helpers of a folder are its own affair."""
    spine = {path.name for path in (ROOT / "src" / "antichain").glob("*.py")} - {"__main__.py"}
    aside = {"runnable.py", "context.py", "tasks.py"}
    assert spine - aside - set(re.findall(r"`(\w+\.py)`", DESIGN)) == set()


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_parts_that_the_tour_names_exist() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    named = re.findall(r"`(_\w+|[A-Z]\w+)`", DESIGN)
    assert "_work" in named
    theirs = {"TaskGroup"}
    assert [name for name in named if name not in theirs and not re.search(rf"\b{name}\b", source)] == []
