"""
Run a page of the documentation as its reader would: `page.py PAGE`, in an empty folder, prints what is not as it says.

- A `python` block runs; all of a page's blocks are one program. With `title="NAME.py"` it is a file that is written.
- An `sh` block runs, line by line, and must succeed.
- A `text` block with `title="Output"` (`title="Standard error"`) is what the block before it printed; `...` stands for
  any text. A block that prints to standard error must show it.
- A page with the comment NOTEBOOK runs inside a running event loop, with `await` at the top of a block.
- A `text` block without a title, or a block of no language, is a drawing.
"""

import ast
import asyncio
import gc
import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

NOTEBOOK = "<!-- runs in a notebook -->"
FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?$")
STREAMS = ("Output", "Standard error")


class Block(NamedTuple):
    line: int  # of its first line of text, from 1
    language: str
    title: str
    text: str

    @property
    def is_shown_output(self) -> bool:
        return self.language == "text" and self.title in STREAMS

    @property
    def is_drawing(self) -> bool:
        return self.language in ("", "text") and not self.title

    @property
    def is_file(self) -> bool:
        return self.language == "python" and self.title.endswith(".py")


def blocks_of(markdown: str) -> list[Block]:
    """
    List the fenced blocks; a fence that is not as the head of this file says is an error.
    """
    blocks: list[Block] = []
    opened: tuple[int, re.Match[str]] | None = None
    lines = markdown.splitlines()
    for number, line in enumerate(lines, 1):
        if opened is not None:
            start, fence = opened
            if line == fence["fence"]:
                text = "\n".join(lines[start : number - 1])
                blocks.append(Block(start + 1, fence["language"], fence["title"] or "", text))
                opened = None
        elif line.lstrip().startswith("```"):
            match = FENCE.match(line)
            if match is None:
                raise ValueError(f"line {number}: this fence is of no kind that is known: {line!r}")
            opened = (number, match)
    if opened is not None:
        raise ValueError(f"line {opened[0]}: this fence is never closed")
    for block in blocks:
        if not (block.is_shown_output or block.is_drawing or block.language in ("python", "sh")):
            raise ValueError(f"line {block.line}: a block of kind {block.language!r} {block.title!r} would not be run")
    return blocks


def is_as_shown(shown: str, real: str) -> bool:
    """
    Compare with what a page shows, in which `...` stands for any text.
    """
    wanted, got = (
        "\n".join(line.rstrip() for line in text.strip("\n").splitlines()).rstrip() for text in (shown, real)
    )
    return re.fullmatch(re.escape(wanted).replace(re.escape("..."), ".*"), got, re.DOTALL) is not None


class Page:
    """
    One program, made of a page's blocks.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        markdown = file.read_text(encoding="utf-8")
        self.blocks = blocks_of(markdown)
        self.is_notebook = NOTEBOOK in markdown
        self.module = ModuleType("page")
        sys.modules["page"] = self.module
        # What the last block that ran has printed, by stream.
        self.printed = dict.fromkeys(STREAMS, "")
        self.faults: list[str] = []

    async def run(self) -> None:
        for position, block in enumerate(self.blocks):
            if block.is_shown_output:
                self.compare(block)
            elif block.is_file:
                self.write(block)
            elif not block.is_drawing:
                await self.run_block(block)
                self.look_at_errors(block, self.blocks[position + 1 : position + 3])

    def write(self, block: Block) -> None:
        Path(block.title).write_text(block.text + "\n", encoding="utf-8")

    def compare(self, block: Block) -> None:
        if not is_as_shown(block.text, self.printed[block.title]):
            self.say(block, f"the page shows\n{block.text}\nbut it is\n{self.printed[block.title]}")

    def look_at_errors(self, block: Block, following: list[Block]) -> None:
        is_shown = any(each.is_shown_output and each.title == "Standard error" for each in following)
        if self.printed["Standard error"] and not is_shown:
            self.say(block, f"it printed to standard error:\n{self.printed['Standard error']}")

    async def run_block(self, block: Block) -> None:
        output, errors = io.StringIO(), io.StringIO()
        if block.language == "sh":
            self.call(block, output, errors)
        else:
            with redirect_stdout(output), redirect_stderr(errors):
                await self.execute(block)
                gc.collect()  # what nobody awaited or closed is said now
        self.printed = dict(zip(STREAMS, (output.getvalue(), errors.getvalue()), strict=True))

    def call(self, block: Block, output: io.StringIO, errors: io.StringIO) -> None:
        for line in block.text.splitlines():
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
            output.write(done.stdout)
            errors.write(done.stderr)
            if done.returncode:
                self.say(block, f"{line}: exit code {done.returncode}\n{done.stdout}{done.stderr}")

    async def execute(self, block: Block) -> None:
        # Where it stands on the page, so that a traceback leads there.
        source = "\n" * (block.line - 1) + block.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if self.is_notebook else 0
        code = compile(source, str(self.file), "exec", flags, dont_inherit=True)
        # Any: what a block with `await` comes to
        waiting: Any = eval(code, self.module.__dict__)
        if waiting is not None:
            await waiting

    def say(self, block: Block, what: str) -> None:
        self.faults.append(f"{self.file}:{block.line}: {what}")


def main() -> int:
    page = Page(Path(sys.argv[1]))
    tools = os.path.dirname(sys.executable)
    os.environ.update(PATH=f"{tools}:{os.environ['PATH']}", NO_COLOR="1", TERM="dumb", COLUMNS="100")
    running = page.run()
    if page.is_notebook:
        asyncio.run(running)
    else:
        try:
            running.send(None)  # nothing in it waits: there is no loop, as in a script
        except StopIteration:
            pass
        else:
            raise RuntimeError("a page that is no notebook has waited")
    print(*page.faults, sep="\n")
    return 1 if page.faults else 0


if __name__ == "__main__":
    sys.exit(main())
