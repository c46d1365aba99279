"""Tasks about the text itself: counting its parts, reversing it, repeating it."""

from __future__ import annotations

from random import Random
from string import ascii_lowercase

from tools.nano import words
from tools.nano.number_tasks import number
from tools.nano.sample import Sample

_COUNT_LETTER = (
    "How many times does the letter {x} occur in {list}?",
    "How many {x} are in {list}?",
    "Count the letter {x} in the word {list}.",
)
_COUNT_ITEM = {
    "en": ("How many times does {x} occur in this list: {list}?", "Count {x} in: {list}"),
    "zh": ("{list} 中，{x}出现了几次？", "数一数{x}出现几次：{list}"),
}
_REVERSE = {
    "en": ("Reverse {x}", "Write {x} backwards.", "What is {x} in reverse?"),
    "zh": ("把{x}倒过来写。", "反转 {x}", "{x}反过来是什么？"),
}
_REPEAT = {
    "en": ("Repeat: {x}", "Say exactly this: {x}", "Repeat the following text.\n{x}"),
    "zh": ("请重复：{x}", "原样重复下面的话：{x}", "复述：{x}"),
}
_COPYING = {"en": "I copy the text.", "zh": "照抄原文。"}
_COMMON = {"en": words.WORDS, "zh": words.WORDS_ZH}
_RARE = {"en": words.RARE, "zh": words.RARE_ZH}


def count(rng: Random, language: str) -> Sample:
    """Count a letter in a word (English) or an item in a list, with a running count."""
    if language == "en" and rng.random() < 0.6:
        question, wanted, items = _letters(rng)
    else:
        question, wanted, items = _items(rng, language)
    seen, steps = 0, []
    for item in items:
        seen += item == wanted
        steps.append(f"{item} {seen}")
    return Sample("count", language, question, f"{wanted}: " + ", ".join(steps), str(seen))


def _letters(rng: Random) -> tuple[str, str, list[str]]:
    """Return the question, the letter to count and the word's letters."""
    word = rng.choice(words.WORDS)
    if rng.random() < 0.3:  # no word at all, so that spelling cannot be learned by heart only
        word = "".join(rng.choice(ascii_lowercase) for _ in range(4))
    wanted = rng.choice(word) if rng.random() < 0.85 else rng.choice("aeiorst")
    return rng.choice(_COUNT_LETTER).format(x=wanted, list=word), wanted, list(word)


def _items(rng: Random, language: str) -> tuple[str, str, list[str]]:
    """Return the question, the item to count and the list."""
    pool = _COMMON[language]
    if rng.random() < 0.4:
        pool = tuple("0123456789")
    kinds = rng.sample(pool, 3)
    items = [rng.choice(kinds) for _ in range(rng.randint(3, 7))]
    wanted = rng.choice(kinds)
    listed = (", " if language == "en" else "，").join(items)
    return rng.choice(_COUNT_ITEM[language]).format(x=wanted, list=listed), wanted, items


def reverse(rng: Random, language: str) -> Sample:
    """Reverse a digit string or an English word; spelled out first, then read from the end."""
    if rng.random() < 0.5:
        text = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 8)))
    else:
        text = rng.choice([word for word in words.WORDS if len(word) < 8])
    question = rng.choice(_REVERSE[language]).format(x=text)
    thinking = f"{' '.join(text)}\n{' '.join(text[::-1])}"
    return Sample("reverse", language, question, thinking, text[::-1])


def repeat(rng: Random, language: str) -> Sample:
    """Copy a short text with emoji and rare characters in it."""
    pieces = [rng.choice(_COMMON[language]) for _ in range(rng.randint(1, 4))]
    for _ in range(rng.randint(0, 3)):
        letter = rng.choice(_RARE[language] if rng.random() < 0.7 else words.RARE + words.RARE_ZH)
        pieces.insert(rng.randint(0, len(pieces)), letter)
    if rng.random() < 0.3:
        pieces.insert(rng.randint(0, len(pieces)), str(number(rng, rng.randint(1, 6))))
    text = (" " if language == "en" else "").join(pieces)
    question = rng.choice(_REPEAT[language]).format(x=text)
    return Sample("repeat", language, question, _COPYING[language], text)
