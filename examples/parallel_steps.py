"""
Parallel step execution: the steps of an agent run side by side unless one depends on the other, even while the plan
is still being written.

    python examples/parallel_steps.py
"""

import asyncio
import time
from collections.abc import AsyncIterator

from antichain import Backoff, ParallelStepExecutor, RunFailed, Step


async def search() -> list[str]:
    await asyncio.sleep(0.2)
    return ["steep for three minutes"]


async def remember() -> str:
    await asyncio.sleep(0.1)
    return "you like it strong"


async def answer(step1: list[str], step2: str) -> str:  # receives what step1 and step2 returned
    await asyncio.sleep(0.1)
    return f"{step1[0]}; {step2}"


async def broken() -> None:
    raise OSError("no connection")


STEPS = [
    Step("step1", search),
    Step("step2", remember),
    Step("step3", answer, depends=["step1", "step2"]),
]


async def main() -> None:
    start = time.perf_counter()
    results = await ParallelStepExecutor(STEPS).execute()
    print(f"Executed {len(results)} steps in {time.perf_counter() - start:.1f} s: {results['step3']}")

    await step_timeout()
    await step_retry()
    await unfinished_plan()


async def step_timeout() -> None:
    """Variation: a limit of time for each attempt of a step. What completed in time is kept."""
    executor = ParallelStepExecutor([*STEPS, Step("step4", lambda: asyncio.sleep(60))])
    try:
        await executor.execute_with_timeout(step_timeout=0.5)
    except RunFailed as failed:
        print(f"{failed.exceptions[0]}\n  completed: {', '.join(failed.result)}")


async def step_retry() -> None:
    """Variation: more attempts after the first. While a step backs off, others use its slot."""
    attempts: list[int] = []

    async def unreliable() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("no connection")
        return "at last"

    executor = ParallelStepExecutor([*STEPS, Step("step4", unreliable)], max_concurrent=2)
    results = await executor.execute_with_retry(max_retries=3, backoff=Backoff(initial=0.05))
    print(f"{results['step4']} after {len(attempts)} attempts")


async def plan() -> AsyncIterator[Step]:
    """A model writes its plan step by step; a step may name one that is not written yet."""
    yield Step("search", search)
    yield Step("answer", lambda search, remember: f"{search[0]}; {remember}", depends=["search", "remember"])
    await asyncio.sleep(0.3)  # the model thinks; `search` is running, and ends meanwhile
    yield Step("remember", remember)


async def unfinished_plan() -> None:
    start = time.perf_counter()
    results = await ParallelStepExecutor(plan()).execute()
    print(f"a plan of 0.3 s and 0.3 s of steps, in {time.perf_counter() - start:.1f} s: {results['answer']}")


if __name__ == "__main__":
    asyncio.run(main())
