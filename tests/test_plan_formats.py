"""
Plans in every form, read from texts in pieces of any size: each step as soon as it is whole.
"""

import asyncio
import json
from typing import Any

import pytest

from antichain.agents.formats import read_steps

PLAN: list[dict[str, Any]] = [
    {"id": "a", "tool": "search", "args": {"q": 'say "hi" {[ \\n , é 😀', "n": [1, 2.5, None, True]}, "depends_on": []},
    {"id": 2, "tool": "math", "args": {"x": {"y": [{}, []]}, "z": "$a.hits[0]"}, "depends_on": ["a"]},
    {"id": "c", "tool": "report", "args": {}, "depends_on": ["a", 2]},
]
FORMS = {
    "list": json.dumps(PLAN),
    "escaped": json.dumps(PLAN, ensure_ascii=True, indent=1),
    "plain": json.dumps(PLAN, ensure_ascii=False),
    "object": json.dumps({"thought": "first [this] {then} that", "steps": PLAN, "notes": {"steps": [1]}}),
    "lines": "\n".join(map(json.dumps, PLAN)),
    "fence": f"Sure [1], with {{braces}}:\n```json\n{json.dumps(PLAN, indent=2)}\n```\nThat's {{it}} [2].",
    "fenced lines": "```\n" + "\n".join(map(json.dumps, PLAN)) + "\n```",
}


def read(source: Any, *args: Any, **options: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [found async for found in read_steps(source, *args, **options)]

    return asyncio.run(collect())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_json_gives_the_steps_however_it_is_cut(form: str) -> None:
    text = FORMS[form]
    for size in (len(text), 7, 3, 2, 1):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert read(pieces) == PLAN
        assert read([piece.encode() for piece in pieces]) == PLAN
    raw = text.encode()
    assert read([raw[at : at + 1] for at in range(len(raw))]) == PLAN
    assert read(text) == PLAN
    assert read(text, "json") == PLAN


@pytest.mark.parametrize("form", FORMS)
def test_a_plan_cut_in_two_at_any_place_gives_the_same(form: str) -> None:
    text = FORMS[form]
    for at in range(len(text)):
        assert read([text[:at], text[at:]]) == PLAN
