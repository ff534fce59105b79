"""
A run that nobody keeps pays nothing for those that are kept: not a line of stores, journals and fingerprints runs, and
none of it is imported, nor is sqlite3.
"""

from tests.support.looked_at import run_python, telling_parts

# What only runs that are kept need.
PARTS = (
    "antichain/stores/",
    "antichain/resuming/",
    "antichain/journal.py",
    "antichain/keeping.py",
    "antichain/telling.py",
    "antichain/opening.py",
)

LOOK = telling_parts(PARTS)


def test_no_line_of_stores_runs_without_a_store() -> None:
    """Not even in a program that has imported all of it."""
    imports = "import antichain.opening, antichain.stores.sqlite, antichain.stores.memory\nOPTIONS = {}\n"
    assert run_python(imports + LOOK) == "12"


def test_what_is_kept_would_be_seen() -> None:
    """The test above can fail."""
    told = run_python('from antichain import MemoryStore\nOPTIONS = {"store": MemoryStore()}\n' + LOOK)
    assert told == f"12 {' '.join(sorted(PARTS))}"


def test_nothing_of_stores_is_imported_without_a_store() -> None:
    code = """
graph.run()
names = ["stores", "resuming", "journal", "keeping", "telling", "opening"]
names = (*["antichain." + name for name in names], "sqlite3")
print([name for name in sys.modules if name.startswith(names)])
"""
    assert run_python(code) == "[]"
