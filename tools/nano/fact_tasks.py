"""Small facts: capitals, opposites, colours and a few more, in several phrasings."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from tools.nano import words
from tools.nano.sample import Sample


class _Kind(NamedTuple):
    share: int
    rows: tuple[words.Row, ...]
    phrasings: dict[str, tuple[str, ...]]  # language -> questions; none: the row is the question
    both_ways: bool = False  # the answer may be asked for its partner as well


_KINDS = (
    _Kind(
        4,
        tuple(sorted(words.CAPITALS)),
        {
            "en": (
                "What is the capital of {}?",
                "Which city is the capital of {}?",
                "Name the capital of {}.",
            ),
            "zh": ("{}的首都是哪里？", "{}的首都是什么？", "请说出{}的首都。"),
        },
    ),
    _Kind(
        4,
        words.OPPOSITES,
        {
            "en": (
                "What is the opposite of {}?",
                "Give the opposite of {}.",
                "What is the antonym of {}?",
            ),
            "zh": ("“{}”的反义词是什么？", "{}的反义词是？", "请给出“{}”的反义词。"),
        },
        both_ways=True,
    ),
    _Kind(
        2,
        words.COLOUR_OF,
        {
            "en": (
                "What colour is {}?",
                "Which colour does {} have?",
                "Tell me the colour of {}.",
            ),
            "zh": ("{}是什么颜色的？", "{}的颜色是什么？", "请说出{}的颜色。"),
        },
    ),
    _Kind(2, words.OTHER_FACTS, {}),
)
_THINKING = {"en": "This is {}.", "zh": "答案是{}。"}


def fact(rng: Random, language: str) -> Sample:
    """One of about a hundred small facts."""
    kind = rng.choices(_KINDS, [kind.share for kind in _KINDS])[0]
    row = rng.choice(kind.rows)
    asked, answer = row[:2] if language == "en" else row[2:]
    if kind.both_ways and rng.random() >= 0.5:
        asked, answer = answer, asked
    question = asked
    if kind.phrasings:
        question = rng.choice(kind.phrasings[language]).format(asked)
    return Sample("fact", language, question, _THINKING[language].format(answer), answer)
