"""
Research assistant: twelve searches, a summary of each as soon as *its* search is done, one synthesis of all.

    python examples/stories/research.py             # --model URL, or OPENAI_BASE_URL: ask any compatible endpoint

The search engine hangs and fails: it is asked again, and what it never finds is left out. The provider serves four
calls at once and refuses more (429): what is refused comes again when it was told to, and holds no slot meanwhile.
"""

import argparse
import asyncio
import os
import pydoc
from random import Random

from openai import APIConnectionError, AsyncOpenAI, InternalServerError, RateLimitError

from antichain import Backoff, Context, Graph, Policies, Retry
from antichain.testing import FakeProvider

TOPICS = "difflib heapq textwrap statistics fractions zipfile random shlex tempfile calendar asyncio xyzzy"
STAND_IN = FakeProvider(latency=(0.4, 0.8), allowed=4, retry_after=0.2)
AGAIN = Retry(10, Backoff(0.3), on=(RateLimitError, APIConnectionError, InternalServerError, TimeoutError))


async def search(topic: str, ctx: Context) -> str:
    luck = Random(f"{topic} {ctx.attempt}")
    await asyncio.sleep(3600 if luck.random() < 0.15 else luck.uniform(0.05, 0.4))
    if luck.random() < 0.2 or topic == "xyzzy":
        raise ConnectionError("the search engine hung up")
    return f"Say in one sentence what {topic} is for.\n\n{pydoc.locate(topic).__doc__:.1000}"


async def ask(prompt: str, client: AsyncOpenAI) -> str:
    if not prompt:
        return "(nothing found)"
    messages = [{"role": "user", "content": prompt}]
    answer = await client.chat.completions.create(model=os.environ.get("OPENAI_MODEL", "any"), messages=messages)
    return answer.choices[0].message.content or ""


async def synthesize(summaries: list[str], client: AsyncOpenAI) -> str:
    return await ask("What have these in common?\n\n" + "\n".join(summaries), client)


async def main(url: str | None) -> None:
    graph = Graph("research", limits={"search": 6, "llm": 6}, defaults=Policies(timeout=60, retry=AGAIN))
    graph.map("searches", search, over=TOPICS.split(), uses="search", timeout=0.6, retry=3, fallback="")
    graph.map("summaries", ask, over="searches", uses="llm")
    graph.add("synthesis", synthesize, uses="llm")
    async with STAND_IN as fake, AsyncOpenAI(base_url=url or fake.url, max_retries=0) as client:
        result = await graph.arun(client=client, progress=True)
    print(*map("{}: {}".format, TOPICS.split(), result["summaries"]), result["synthesis"], sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", metavar="URL", default=os.environ.get("OPENAI_BASE_URL"))
    os.environ.setdefault("OPENAI_API_KEY", "none")
    asyncio.run(main(parser.parse_args().model))
