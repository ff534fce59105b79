"""
A run in a fresh interpreter, which tells what parts of the library it came through.
"""

import subprocess
import sys
import textwrap
from collections.abc import Sequence

__all__ = ["run_python", "telling_parts"]

# A graph that uses what runs have: threads, retries, maps, nested graphs, what bodies run.
PRELUDE = """
import asyncio, sys, threading
from antichain import Backoff, Context, Graph, Retry
inner = Graph("inner")
inner.map("each", lambda x: x, over=[1, 2])
graph = Graph("outer", limits={"one": 1}, on_error="continue")
tries = []
@graph.node(retry=Retry(2, Backoff(0.0)))
async def again():
    tries.append(1)
    if len(tries) == 1:
        raise ValueError("again")
graph.add("thread", lambda again: 1)
graph.add("nested", inner, depends_on=["thread"])
@graph.node(uses="one")
async def inside(ctx: Context):
    return dict(await ctx.run(inner))
graph.add("fails", lambda: 1 / 0)
"""

LOOK = """
seen = set()
def look(frame, event, arg):
    name = frame.f_code.co_filename.replace("\\\\", "/")
    seen.update(part for part in PARTS if part in name)
threading.settrace(look)
sys.settrace(look)
result = graph.run(**OPTIONS)
sys.settrace(None)
assert result.status == "partial", result
print(len(result.nodes), *sorted(seen))
"""


def telling_parts(parts: Sequence[str]) -> str:
    """
    Return code that runs the graph with OPTIONS, and prints its number of nodes and which of *parts* were in the path
    of any file of which a line ran.
    """
    return f"\nPARTS = {tuple(parts)!r}\n{LOOK}"


def run_python(code: str) -> str:
    """
    Run code behind the graph in an interpreter of its own, where warnings are errors; return what it printed.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
