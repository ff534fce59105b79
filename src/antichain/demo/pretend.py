"""
What stands in for a language model where there is none: it picks a sentence of what it was given.
"""

import re
from typing import Final

from antichain.demo.corpus import words_of

__all__ = ["pretend"]

# Letters of a word that tell what it is about: coroutine and coroutines, sort and sorted.
STEM: Final = 5
RULE: Final = re.compile(r"^\W*$", re.MULTILINE)


def pretend(prompt: str) -> str:
    """
    Answer one of the three prompts of the demo's graph.
    """
    if "\nPassage:\n" in prompt:
        answer, _, passage = prompt.partition("\n\nAnswer: ")[2].partition("\n\nPassage:\n")
        return "yes" if _plain(answer) in _plain(passage) else "no"
    if "\n\nQuestion: " in prompt:
        question, *passages = prompt.partition("\n\nQuestion: ")[2].split("\n\n[")
        return _best(question, passages)
    return _overview(re.findall(r"^- ([\w.]+|help\(.*?\)):", prompt, re.MULTILINE))


def _best(question: str, passages: list[str]) -> str:
    """
    Pick the passage whose name and text have most words of the question, and its sentence that has most of them.
    """
    wanted = _stems(question)
    ranked = []
    for position, passage in enumerate(passages):
        head, _, text = passage.partition("\n")
        number, _, name = head.partition("] ")
        ranked.append((2 * len(wanted & _stems(name)) + len(wanted & _stems(text)), -position, number, text))
    _, _, number, text = max(ranked)
    sentences = _sentences(text)
    # The first one says what a thing is for.
    points = {sentence: len(wanted & _stems(sentence)) + 2 * (sentence is sentences[0]) for sentence in sentences[:8]}
    return f"[{number}] {max(points, key=lambda sentence: points[sentence])}"


def _stems(text: str) -> set[str]:
    # NamedTemporaryFile and get_close_matches are three words each.
    spaced = re.sub(r"([a-z])([A-Z])|_", r"\1 \2", text)
    return {word[:STEM] for word in words_of(spaced)}


def _sentences(text: str) -> list[str]:
    paragraphs = [" ".join(each.split()) for each in re.split(r"\n\s*\n", RULE.sub("", text))]
    sentences = [each.strip() for paragraph in paragraphs for each in re.split(r"(?<=[.!?:])\s", paragraph)]
    return [each for each in sentences if len(each) > 15 and "::=" not in each] or [_plain(text)]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _overview(names: list[str]) -> str:
    modules = sorted({name.split(".")[0] for name in names if "(" not in name})
    modules += ["the language reference"] if any("(" in name for name in names) else []
    subject = "The answer is" if len(names) == 1 else f"The {len(names)} answers are"
    return f"{subject} in {' and '.join(filter(None, [', '.join(modules[:-1]), modules[-1]]))}."
