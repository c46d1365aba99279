"""Text of an answer that knows where it stands, so that its tokens can be found again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from qdeploy.interface import Token


@dataclass(frozen=True)
class Span:
    """Characters of an answer.

    Attributes:
        text: the characters.
        start: the place of the first one among all that the answer's tokens made.
    """

    text: str
    start: int

    def __bool__(self) -> bool:
        return bool(self.text)

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def cut(self, start: int, end: int | None = None) -> Span:
        """Return the characters from *start* to *end*, which count from this span's first."""
        return Span(self.text[start:end], self.start + start)

    def joined(self, other: Span) -> Span:
        """Return this span and the one right after it as one."""
        return Span(self.text + other.text, self.start)


class Ledger:
    """Which token made which characters of an answer.

    A character may take several tokens. They are all noted for it, once it is complete.
    """

    def __init__(self) -> None:
        self._length = 0
        self._incomplete: list[Token] = []
        self._noted: deque[tuple[int, int, Token]] = deque()

    def note(self, token: Token | None, text: str) -> Span:
        """Note that *token* completed *text*, or that the text came without a token."""
        if token is not None:
            self._incomplete.append(token)
        span = Span(text, self._length)
        if text:
            self._length = span.end
            self._noted.extend((span.start, span.end, token) for token in self._incomplete)
            self._incomplete.clear()
        return span

    def take(self, span: Span) -> tuple[Token, ...]:
        """Return the tokens of *span* that no earlier span has taken. Spans come in order."""
        while self._noted and self._noted[0][1] <= span.start:
            self._noted.popleft()
        taken = []
        while self._noted and self._noted[0][0] < span.end:
            taken.append(self._noted.popleft()[2])
        return tuple(taken)
