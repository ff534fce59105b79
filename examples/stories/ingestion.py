"""
Ingestion: 10,000 documents are read, embedded and stored; memory stays flat, and what cannot be read is collected.

    python examples/stories/ingestion.py            # --model URL, or OPENAI_BASE_URL: ask any compatible endpoint

Each batch of 50 goes through a graph of its own, at most 8 batches at once: a slow provider slows the source down.
"""

import argparse
import asyncio
import json
import os
import sqlite3
from contextlib import closing

from openai import APIConnectionError, AsyncOpenAI, InternalServerError, RateLimitError

from antichain import Backoff, Graph, Outcome, Retry
from antichain.testing import Failure, FakeProvider

STAND_IN = FakeProvider(latency=(0.02, 0.06), allowed=4, failures=Failure(503, share=0.02))
AGAIN = Retry(10, Backoff(0.1), on=(RateLimitError, APIConnectionError, InternalServerError, TimeoutError))


def read(number: int) -> dict[str, str]:
    text = json.dumps({"title": f"Document {number}", "body": "and so on, " * 500})
    return json.loads(text[:99] if number % 500 == 7 else text)


async def embed(documents: list[Outcome], client: AsyncOpenAI) -> dict[str, list[float]]:
    titles = {each.key: each.value["title"] for each in documents if each.ok}
    answer = await client.embeddings.create(model=os.environ.get("OPENAI_MODEL", "any"), input=[*titles.values()])
    return {key: each.embedding for key, each in zip(titles, answer.data, strict=True)}


def store(documents: list[Outcome], vectors: dict[str, list[float]], index: sqlite3.Connection) -> list[str]:
    index.executemany("INSERT INTO vectors VALUES (?, ?)", [(key, json.dumps(each)) for key, each in vectors.items()])
    return [f"{each.key}: {each.error}" for each in documents if not each.ok]


async def main(url: str | None) -> None:
    batch = Graph("batch")
    batch.map("documents", read, over="numbers", key=str, outcomes=True)
    batch.add("vectors", embed, uses="provider", timeout=60, retry=AGAIN)
    batch.add("failures", store, uses="index")
    graph = Graph("ingestion", limits={"provider": 4, "index": 1})
    graph.map("batches", batch, over=(range(first, first + 50) for first in range(0, 10_000, 50)), window=8)
    with closing(sqlite3.connect("", check_same_thread=False)) as index:  # a temporary file
        index.execute("CREATE TABLE vectors (document PRIMARY KEY, vector)")
        async with STAND_IN as fake, AsyncOpenAI(base_url=url or fake.url, max_retries=0) as client:
            result = await graph.arun(client=client, index=index, progress=True)
        print(f"{index.total_changes:,} stored, {sum(map(len, result['batches']))} failed:")
    print(*[failure for failures in result["batches"] for failure in failures], sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", metavar="URL", default=os.environ.get("OPENAI_BASE_URL"))
    os.environ.setdefault("OPENAI_API_KEY", "none")
    asyncio.run(main(parser.parse_args().model))
