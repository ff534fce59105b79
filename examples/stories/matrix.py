"""
Prompts by models: every model answers every case with every prompt; each model has a limit of its own.

    python examples/stories/matrix.py               # --model URL, or OPENAI_BASE_URL: ask any compatible endpoint

A slow model holds up no other one, a call that fails is made again, and a model that is not there costs only its own
row. The models are those that OPENAI_MODEL names, with commas between them.
"""

import argparse
import asyncio
import os
from itertools import product

from openai import APIConnectionError, AsyncOpenAI, InternalServerError, RateLimitError

from antichain import Backoff, Graph, Policies, Retry, value
from antichain.testing import Failure, FakeProvider, Request

PROMPTS = {"terse": "{} =", "steps": "Think step by step: {} =", "polite": "Would you please tell me: {} ="}
CASES = {"17 + 25": "42", "6 * 7 + 1": "43", "9 * 9": "81", "100 - 1": "99", "2 * 3 * 4": "24", "8 - 10": "-2"}
MODELS = os.environ.get("OPENAI_MODEL", "small,large,retired").split(",")
CELLS = list(product(PROMPTS, CASES))
AGAIN = Retry(10, Backoff(0.1), on=(RateLimitError, APIConnectionError, InternalServerError, TimeoutError))


def pretend(request: Request) -> str:
    case = next(case for case in CASES if f"{case} =" in request.prompt)
    return CASES[case] if request.model == "large" or "step" in request.prompt or "*" not in case else "I am not sure"


STAND_IN = FakeProvider(reply=pretend, models=["small", "large"], failures=Failure(503, share=0.2))
STAND_IN.latency = lambda request: 0.3 if request.model == "large" else 0.05


async def is_right(cell: tuple[str, str], model: str, client: AsyncOpenAI) -> bool:
    prompt, case = cell
    messages = [{"role": "user", "content": PROMPTS[prompt].format(case)}]
    answer = await client.chat.completions.create(model=model, messages=messages)
    return CASES[case] in (answer.choices[0].message.content or "")


async def main(url: str | None) -> None:
    graph = Graph("matrix", limits=dict.fromkeys(MODELS, 4), defaults=Policies(timeout=60, retry=AGAIN))
    for model in MODELS:
        graph.map(model, is_right, over=CELLS, inputs={"model": value(model)}, uses=model, outcomes=True)
    async with STAND_IN as fake, AsyncOpenAI(base_url=url or fake.url, max_retries=0) as client:
        result = await graph.arun(client=client)
    for model in MODELS:
        right = [prompt for (prompt, _), each in zip(CELLS, result[model], strict=True) if each.ok and each.value]
        scores = [f"{prompt} {right.count(prompt)}/{len(CASES)}" for prompt in PROMPTS]
        failed = [f"{each.error}" for each in result[model] if not each.ok]
        print(f"{model}:", *scores, f"({len(failed)} failed: {failed[0]})" if failed else "(all answered)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", metavar="URL", default=os.environ.get("OPENAI_BASE_URL"))
    os.environ.setdefault("OPENAI_API_KEY", "none")
    asyncio.run(main(parser.parse_args().model))
