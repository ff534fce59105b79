"""
Use the installed package as a stranger would: import it, run three nodes, call the command.
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import antichain
from antichain import Graph


def three_nodes() -> Graph:
    graph = Graph("smoke", limits={"slow": 1})

    @graph.node
    async def left() -> int:
        await asyncio.sleep(0.01)
        return 2

    @graph.node(uses="slow", retry=2)
    def right(factor: int) -> int:
        return 20 * factor

    @graph.node
    async def both(left: int, right: int) -> int:
        return left + right

    return graph


def command(*arguments: str, timeout: float = 120) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("antichain"), *arguments], capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"antichain {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def main() -> None:
    assert "site-packages" in antichain.__file__, f"not the installed package: {antichain.__file__}"
    result = three_nodes().run(factor=2, max_concurrent=2)
    assert result["both"] == 42, dict(result)
    assert result.status == "succeeded", result.status
    assert antichain.map(abs, [-1, -2, -3], max_concurrent=2) == [1, 2, 3]
    assert antichain.__version__ in command("--version")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sample.py").write_text('"""\nA module of which a digest is made.\n"""\n', encoding="utf-8")
        print(command("run", "library_digest.py", f"path={folder}", f"out={folder}/digest.md").splitlines()[0])
    print(f"antichain {antichain.__version__} on Python {sys.version.split()[0]}: ok")


if __name__ == "__main__":
    main()
