"""
Drop-in gather: an agent's loop as many have written it, in which one call has changed.

    python examples/stories/drop_in_gather.py       # --model URL, or OPENAI_BASE_URL: ask any compatible endpoint

`antichain.gather` makes four calls at once, gives each a second, keeps their order and leaves nothing running.
`run_tool_calls` also checks the arguments, and tells the model which call went wrong, and how.
"""

import argparse
import asyncio
import json
import os
import pydoc
from functools import partial

from openai import AsyncOpenAI

from antichain import Tools, gather, run_tool_calls
from antichain.testing import Failure, FakeProvider, Reply, ToolCall

TASK = "Explain these functions: shlex.split, bisect.insort, heapq.merge, xyzzy, textwrap.wrap, textwrap.fill"
CALLS = Reply(tool_calls=[ToolCall("explain", {"name": name}) for name in TASK.partition(": ")[2].split(", ")])
STAND_IN = FakeProvider(latency=(0.1, 0.3), failures=Failure("hang", when="does bisect.insort do"))
STAND_IN.reply = lambda request: CALLS if request.messages[-1]["content"] == TASK else None


async def agent(create: partial, is_by_gather: bool) -> None:
    async def explain(name: str) -> str:
        """Explain a function of Python's library, given its full name."""
        task = f"In one sentence, what does {name} do?\n\n{pydoc.resolve(name)[0].__doc__}"
        return (await create(messages=[{"role": "user", "content": task}])).choices[0].message.content

    tools, messages = Tools(explain), [{"role": "user", "content": TASK}]
    for _ in range(5):
        messages.append((await create(messages=messages, tools=tools.openai())).choices[0].message)
        if not (calls := messages[-1].tool_calls):
            break
        if is_by_gather:
            coroutines = [explain(**json.loads(call.function.arguments)) for call in calls]
            values = await gather(*coroutines, max_concurrent=4, timeout=1, return_exceptions=True)
            for call, value in zip(calls, values, strict=True):
                messages.append({"role": "tool", "tool_call_id": call.id, "content": str(value)})
        else:
            messages += await run_tool_calls(calls, tools, max_concurrent=4, timeout=1)
    print(*(each["content"] for each in messages if isinstance(each, dict)), messages[-1].content, sep="\n\n")


async def main(url: str | None) -> None:
    async with STAND_IN as fake, AsyncOpenAI(base_url=url or fake.url, max_retries=0) as client:
        create = partial(client.chat.completions.create, model=os.environ.get("OPENAI_MODEL", "any"))
        await agent(create, is_by_gather=True)
        await agent(create, is_by_gather=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", metavar="URL", default=os.environ.get("OPENAI_BASE_URL"))
    os.environ.setdefault("OPENAI_API_KEY", "none")
    asyncio.run(main(parser.parse_args().model))
