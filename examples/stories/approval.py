"""
Approval in the middle: a model proposes which files of a folder to delete, and a person says yes or no.

    python examples/stories/approval.py FOLDER      # --model URL, or OPENAI_BASE_URL: ask any compatible endpoint

Only the deletion waits for the answer; the report is written meanwhile. Whatever the model says, it can only choose
among what the scans have found, and nothing is deleted before somebody has said yes.
"""

import argparse
import asyncio
import os
from itertools import chain
from pathlib import Path

from openai import AsyncOpenAI

from antichain import Context, Graph
from antichain.testing import FakeProvider

STAND_IN = FakeProvider(reply=lambda request: request.prompt + "\n../precious.txt")  # proposes too much
STAND_IN.latency = lambda request: 0.8 if "report" in request.prompt else 0.2


def scan(pattern: str, folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob(pattern))


async def ask(task: str, scans: list[list[str]], client: AsyncOpenAI) -> list[str]:
    messages = [{"role": "user", "content": "\n".join([task, *chain(*scans)])}]
    answer = await client.chat.completions.create(model=os.environ.get("OPENAI_MODEL", "any"), messages=messages)
    return answer.choices[0].message.content.split("\n")


async def delete(folder: Path, scans: list[list[str]], proposal: list[str], ctx: Context) -> str:
    chosen = [name for name in chain(*scans) if name in proposal]
    if not chosen or not await ctx.ask(f"Delete {', '.join(chosen)}?", type=bool):
        return "nothing was deleted"
    for name in chosen:
        (folder / name).unlink()
    return f"{len(chosen)} files were deleted"


async def main(model: str | None, folder: Path) -> None:
    graph = Graph("cleanup", limits={"llm": 2})
    graph.map("scans", scan, over=["*~", "*.bak", "*.tmp"])
    graph.add("report", ask, uses="llm", inputs={"task": "Write a report of one sentence about these files:"})
    graph.add("proposal", ask, uses="llm", inputs={"task": "Which of these may be deleted? One name a line."})
    graph.add("deletion", delete)
    async with STAND_IN as fake, AsyncOpenAI(base_url=model or fake.url, max_retries=0) as client:
        result = await graph.arun(folder=folder, client=client, ask=lambda asked: input(f"{asked.text} [yes/no] "))
    print(*result["report"], result["deletion"], sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", metavar="URL", default=os.environ.get("OPENAI_BASE_URL"))
    os.environ.setdefault("OPENAI_API_KEY", "none")
    asyncio.run(main(**vars(parser.parse_args())))
