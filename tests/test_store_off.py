"""
A run that nobody keeps pays nothing for those that are kept: not a line of stores, journals and fingerprints runs, and
none of it is imported, nor is sqlite3.
"""

import subprocess
import sys

from tests.test_telemetry_off import PRELUDE

# What only runs that are kept need.
PARTS = (
    "antichain/stores/",
    "antichain/resuming/",
    "antichain/journal.py",
    "antichain/keeping.py",
    "antichain/opening.py",
)

LOOK = f"""
seen = set()
def look(frame, event, arg):
    name = frame.f_code.co_filename.replace("\\\\", "/")
    seen.update(part for part in {PARTS!r} if part in name)
threading.settrace(look)
sys.settrace(look)
result = graph.run(**OPTIONS)
sys.settrace(None)
assert result.status == "partial", result
print(len(result.nodes), *sorted(seen))
"""


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", PRELUDE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


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
names = ["stores", "resuming", "journal", "keeping", "opening"]
names = (*["antichain." + name for name in names], "sqlite3")
print([name for name in sys.modules if name.startswith(names)])
"""
    assert run_python(code) == "[]"
