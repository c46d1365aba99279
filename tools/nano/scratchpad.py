"""Column arithmetic in writing, shaped so that a very small model can learn every step.

Each step needs only things such a model does reliably: read a digit at a fixed distance, look up a
one-digit sum, copy the previous partial result. Both numbers are written from the right first, so
column i sits at the same distance from both; the partial result grows to the left on every line,
so nothing has to be reversed at the end.
"""

from __future__ import annotations

_CARRY = {"en": ", carry ", "zh": "，进"}
_BORROW = {"en": ", borrow ", "zh": "，借"}
_FROM_RIGHT = {"en": "From the right:", "zh": "从右往左："}


def addition(a: int, b: int, language: str) -> str:
    """Return the worked addition of two non-negative numbers."""
    first, second, lines = _aligned(a, b, language)
    carry, result = 0, ""
    for x, y in zip(first, second, strict=True):
        total = int(x) + int(y) + carry
        result = f"{total % 10}{result}"
        step = f"{x}+{y}+{carry}={total}"
        carry = total // 10
        lines.append(f"{step}{_CARRY[language]}{carry}: {result}")
    if carry:
        lines.append(f"{_CARRY[language].lstrip(', ，')}1: 1{result}")
    return "\n".join(lines)


def subtraction(a: int, b: int, language: str) -> str:
    """Return the worked subtraction a - b for a >= b >= 0, with the leading zeros struck last."""
    if a < b:
        raise ValueError(f"subtraction needs a >= b, got {a} - {b}")
    first, second, lines = _aligned(a, b, language)
    borrow, result = 0, ""
    for x, y in zip(first, second, strict=True):
        difference = int(x) - int(y) - borrow
        step = f"{x}-{y}-{borrow}={difference}"
        borrow = int(difference < 0)
        if borrow:
            difference += 10
            step = f"{step}+10={difference}"
        result = f"{difference}{result}"
        lines.append(f"{step}{_BORROW[language]}{borrow}: {result}")
    stripped = str(int(result))
    if stripped != result:
        lines.append(f"{result} = {stripped}")
    return "\n".join(lines)


def _aligned(a: int, b: int, language: str) -> tuple[str, str, list[str]]:
    """Return both numbers' digits from the right, padded to one length, and the first lines."""
    width = max(len(str(a)), len(str(b)))
    first, second = str(a).zfill(width)[::-1], str(b).zfill(width)[::-1]
    return first, second, [_FROM_RIGHT[language], first, second]
