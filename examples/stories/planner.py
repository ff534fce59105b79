"""
Streaming planner: a plan runs while the model is still writing it.

    python examples/stories/planner.py              # --model URL, or OPENAI_BASE_URL: ask any compatible endpoint

A step starts as soon as it has been written and what it refers to is there. It can only call the tools that are given.
"""

import argparse
import asyncio
import json
import os
import pydoc
from collections.abc import AsyncIterator

from openai import AsyncOpenAI

from antichain import PlanStream, Tools
from antichain.testing import FakeProvider

MODEL = os.environ.get("OPENAI_MODEL", "any")
TASK = """What have heapq.merge and bisect.insort in common? Answer with nothing but a plan: a JSON array of steps
like {"id": "b", "tool": "summarize", "args": {"texts": ["$a"]}}, in which $a is what step "a" returned. Tools: """
PLAN = """[{"id": "a", "tool": "look_up", "args": {"name": "heapq.merge"}},
 {"id": "b", "tool": "summarize", "args": {"texts": ["$a"]}},
 {"id": "c", "tool": "look_up", "args": {"name": "bisect.insort"}},
 {"id": "d", "tool": "summarize", "args": {"texts": ["$b", "$c"]}}]"""
STAND_IN = FakeProvider(latency=0.2, pace=0.02, reply=lambda request: PLAN if request.body.get("stream") else None)


def look_up(name: str) -> str:
    """Find the documentation of a function of Python's library."""
    print("look up", name)
    return pydoc.resolve(name)[0].__doc__


async def main(url: str | None) -> None:
    async with STAND_IN as fake, AsyncOpenAI(base_url=url or fake.url, max_retries=0) as client:

        async def summarize(texts: list[str]) -> str:
            """Say in one sentence what texts are about."""
            print("summarize", len(texts))
            messages = [{"role": "user", "content": "\n".join(["What is it about?\n", *texts])}]
            return (await client.chat.completions.create(model=MODEL, messages=messages)).choices[0].message.content

        async def plan() -> AsyncIterator[object]:
            messages = [{"role": "user", "content": TASK + json.dumps(tools.openai())}]
            async for chunk in await client.chat.completions.create(model=MODEL, messages=messages, stream=True):
                yield chunk
            print("the plan is complete")

        tools = Tools(look_up, summarize)
        print((await PlanStream(plan(), tools).execute()).popitem()[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", metavar="URL", default=os.environ.get("OPENAI_BASE_URL"))
    os.environ.setdefault("OPENAI_API_KEY", "none")
    asyncio.run(main(parser.parse_args().model))
