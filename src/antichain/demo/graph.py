"""
Questions about the documentation of your own Python, answered by a model, each answer checked, and all put together.

    files ── read[…] ── stored[…] ── searches[…] ─┐
             in threads                           ├─ evidence ── answers[…] ── checks[…] ── digest
    topics[…] ────────────────────────────────────┘   429: wait as long as     each when its
    a tool that fails: timeout, retry, fallback       asked, then again        answer is there

This is what you would write; `antichain demo` only runs it and tells what came of it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from antichain import Backoff, Context, Graph, Retry
from antichain.demo.chat import Busy, Chat, Tally, open_chat
from antichain.demo.corpus import Document, help_topic, open_index, read_docstrings, search, sources_of, store

QUESTIONS = [
    "How do I find close matches of a misspelled word?",
    "How do I create a temporary file that is deleted when it is closed?",
    "How do I gather the results of several coroutines?",
    "How do I sort a graph of dependencies topologically?",
    "How do I merge several sorted inputs?",
    "How do I compute the median of some numbers?",
    "How do I cache the results of a function?",
    "How do I split a shell command line safely?",
    "How do I run a subprocess and capture its output?",
    "How do I escape HTML?",
    "What does a yield expression do in a generator function?",
    "What happens in a try statement when an exception is raised?",
]
ANSWER = "Answer in one sentence, only from these passages. Begin with the number of the passage you used, like [2]."
CHECK = "Does the passage support the answer? Say yes or no."
DIGEST = "These answers come from the documentation of Python. Say in one sentence where they are found."


class Evidence(NamedTuple):
    """
    A question, and what may answer it.
    """

    question: str
    documents: list[Document]


class Answer(NamedTuple):
    """
    What the model says, from where it has it, and whether it says so when it is asked again.
    """

    question: str
    text: str
    source: Document | None
    is_supported: bool = False


def research(
    model: str = "http://localhost:8080/v1",
    questions: list[str] = QUESTIONS,
    seed: int = 0,
    name: str = "",
    tally: Tally | None = None,
) -> Graph:
    """
    Make the graph; *model* is the URL of any OpenAI-compatible endpoint.
    """
    # How many the provider allows at once is not known: it says so by 429, and what waits to try again holds no slot.
    graph = Graph("demo", limits={"model": 12, "help desk": 4}, seed=seed)

    @graph.resource
    def index() -> Iterator[Path]:
        with open_index() as file:
            yield file

    @graph.resource
    async def chat() -> AsyncIterator[Chat]:
        async with open_chat(model, name, tally) as session:
            yield session

    @graph.node(timeout=10)
    async def greeting(chat: Chat) -> str:
        return await chat.name()  # a wrong URL or key fails now, and not after everything has been read

    # What is only of use to this process is not kept by a run that has a store: the list of files, and the index.
    # Each file is stored as soon as it has been read, while others still are; one that cannot be read says nothing.
    graph.add("files", sources_of, persist=False)
    graph.map("read", read_docstrings, over="files", key=str, max_concurrent=2, fallback=[])
    graph.map("stored", store, over="read", max_concurrent=1, priority=1, persist=False)
    graph.map("searches", search, over=questions, depends_on=["stored"])

    async def ask_help_desk(question: str, ctx: Context) -> list[Document]:
        luck = Random(f"{seed} {question} {ctx.attempt}")
        await asyncio.sleep(luck.uniform(0.05, 0.3))
        fate = luck.random()
        if fate < 0.4:
            raise ConnectionError("the help desk hung up")
        if fate < 0.5:
            await asyncio.sleep(3600)
        return help_topic(question)

    patience = Retry(attempts=3, backoff=Backoff(initial=0.2))
    graph.map("topics", ask_help_desk, over=questions, uses="help desk", timeout=0.8, retry=patience, fallback=[])

    @graph.node
    def evidence(searches: list[list[Document]], topics: list[list[Document]]) -> list[Evidence]:
        return [Evidence(*each) for each in zip(questions, map(list.__add__, searches, topics), strict=True)]

    async def answer(evidence: Evidence, chat: Chat) -> Answer:
        question, documents = evidence
        if not documents:
            return Answer(question, "Nothing was found.", None)
        passages = [f"[{number}] {each.name}\n{each.text[:800]}" for number, each in enumerate(documents, 1)]
        said = await chat.ask("\n\n".join([ANSWER, f"Question: {question}", *passages]))
        number = re.search(r"\[(\d+)\]", said)
        used = int(number[1]) if number and 0 < int(number[1]) <= len(documents) else 1
        return Answer(question, re.sub(r"\s*\[\d+\]\s*", " ", said).strip(), documents[used - 1])

    async def check(answer: Answer, chat: Chat) -> Answer:
        if answer.source is None:
            return answer
        prompt = f"{CHECK}\n\nAnswer: {answer.text}\n\nPassage:\n{answer.source.text[:800]}"
        said = await chat.ask(prompt, max_tokens=10)
        return answer._replace(is_supported=said.lower().startswith("yes"))

    async def digest(checks: list[Answer], chat: Chat) -> str:
        lines = [f"- {each.source.name}: {each.text}" for each in checks if each.source]
        return await chat.ask("\n".join([f"{DIGEST}\n", *lines])) if lines else "Nothing was found."

    # What has been begun is finished first: a check goes before an answer that has not been asked for yet.
    again = Retry(attempts=10, backoff=Backoff(initial=0.3, maximum=2), on=(Busy, TimeoutError))
    graph.map(
        "answers", answer, over="evidence", uses="model", timeout=120, retry=again, depends_on=["evidence", "greeting"]
    )
    graph.map("checks", check, over="answers", uses="model", timeout=120, retry=again, priority=10)
    graph.add("digest", digest, uses="model", timeout=120, retry=again, priority=20)
    return graph
