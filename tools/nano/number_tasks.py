"""Tasks about numbers: addition, subtraction, comparing, sorting."""

from __future__ import annotations

from random import Random

from tools.nano import scratchpad
from tools.nano.sample import Sample

_ADD = {
    "en": ("What is {a} + {b}?", "{a}+{b}=?", "Calculate {a} + {b}.", "Add {a} and {b}.",
           "How much is {a} plus {b}?"),
    "zh": ("{a} + {b} 等于多少？", "{a}+{b}=?", "计算 {a} + {b}。", "请算出{a}加{b}的和。"),
}  # fmt: skip
_SUBTRACT = {
    "en": ("What is {a} - {b}?", "{a}-{b}=?", "Calculate {a} - {b}.", "Subtract {b} from {a}.",
           "How much is {a} minus {b}?"),
    "zh": ("{a} - {b} 等于多少？", "{a}-{b}=?", "计算 {a} - {b}。", "请算出{a}减{b}的差。"),
}  # fmt: skip
_LARGER = {
    "en": ("Which number is larger, {a} or {b}?", "Which is greater: {a} or {b}?",
           "Compare {a} and {b}. Which one is bigger?"),
    "zh": ("{a}和{b}哪个大？", "比较 {a} 和 {b}，哪个数更大？", "{a} 与 {b} 中较大的数是哪个？"),
}  # fmt: skip
_SMALLER = {
    "en": ("Which number is smaller, {a} or {b}?", "Which is less: {a} or {b}?",
           "Compare {a} and {b}. Which one is smaller?"),
    "zh": ("{a}和{b}哪个小？", "比较 {a} 和 {b}，哪个数更小？", "{a} 与 {b} 中较小的数是哪个？"),
}  # fmt: skip
_SORT_UP = {
    "en": ("Sort from small to large: {list}", "Sort these numbers in ascending order: {list}"),
    "zh": ("从小到大排序：{list}", "请把这些数按升序排列：{list}"),
}
_SORT_DOWN = {
    "en": ("Sort from large to small: {list}", "Sort these numbers in descending order: {list}"),
    "zh": ("从大到小排序：{list}", "请把这些数按降序排列：{list}"),
}


def number(rng: Random, digits: int) -> int:
    """Draw a number with exactly this many digits (0 counts as one digit)."""
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def _pair(rng: Random) -> tuple[int, int]:
    """Draw two numbers of 1 to 6 digits; long ones more often, about half of equal length."""
    lengths = rng.choices(range(1, 7), weights=(2, 3, 4, 5, 5, 5), k=2)
    if rng.random() < 0.4:
        lengths[1] = lengths[0]
    return number(rng, lengths[0]), number(rng, lengths[1])


def add(rng: Random, language: str) -> Sample:
    """A sum of two numbers, worked out by column."""
    a, b = _pair(rng)
    question = rng.choice(_ADD[language]).format(a=a, b=b)
    return Sample("add", language, question, scratchpad.addition(a, b, language), str(a + b))


def subtract(rng: Random, language: str) -> Sample:
    """A difference that is never negative, worked out by column."""
    a, b = sorted(_pair(rng), reverse=True)
    question = rng.choice(_SUBTRACT[language]).format(a=a, b=b)
    thinking = scratchpad.subtraction(a, b, language)
    return Sample("subtract", language, question, thinking, str(a - b))


def compare(rng: Random, language: str) -> Sample:
    """Two different numbers; by length first, then by the first digit that differs."""
    digits = rng.randint(1, 6)
    a = number(rng, digits)
    if rng.random() < 0.4:
        b = number(rng, rng.randint(1, 6))
    else:  # a shared beginning, so that the first digit alone does not decide
        kept = rng.randint(0, digits - 1)
        b = int(str(a)[:kept] + str(number(rng, digits)).zfill(digits)[kept:])
    if a == b:
        b = a + 1
    larger = rng.random() < 0.5
    question = rng.choice((_LARGER if larger else _SMALLER)[language]).format(a=a, b=b)
    answer = str(max(a, b) if larger else min(a, b))
    return Sample("compare", language, question, _compare_steps(a, b, language), answer)


def _compare_steps(a: int, b: int, language: str) -> str:
    first, second = str(a), str(b)
    n, m = len(first), len(second)
    if language == "zh":
        lines = [f"{a}有{n}位，{b}有{m}位。"]
    else:
        lines = [f"{a} has {n} digits, {b} has {m} digits."]
    if n == m:
        signs = []
        for x, y in zip(first, second, strict=True):
            signs.append(f"{x}{'=' if x == y else '<' if x < y else '>'}{y}")
            if x != y:
                break
        lines.append(" ".join(signs))
    lines.append(f"{a}<{b}" if a < b else f"{a}>{b}")
    return "\n".join(lines)


def sort(rng: Random, language: str) -> Sample:
    """Three to five different numbers below 100, taken out one by one."""
    numbers = rng.sample(range(100), rng.randint(3, 5))
    down = rng.random() < 0.5
    comma = "，" if language == "zh" else ", "
    question = rng.choice((_SORT_DOWN if down else _SORT_UP)[language])
    question = question.format(list=comma.join(map(str, numbers)))
    rest, taken, lines = list(numbers), [], []
    while rest:
        best = max(rest) if down else min(rest)
        lines.append(f"{' '.join(map(str, rest))}: {best}")
        rest.remove(best)
        taken.append(best)
    return Sample("sort", language, question, "\n".join(lines), comma.join(map(str, taken)))
