"""A tool call being read: what all syntaxes have in common.

A call stands between `<tool_call>` and `</tool_call>`. It is told as soon as its function is known,
and its arguments as they come. Nothing that the model wrote is lost:

- A closing tag within a value is part of it. Where the value does not end before the answer does,
  the tag was the end of the call after all.
- Arguments with a mistake are told as they are.
- A call that names no function is text of the answer, its tags included.
- A call that the length limit cuts ends there. Its arguments lack their last brace then, so that
  they cannot be taken for whole ones; where not even the function is known, nothing is told.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from qdeploy.generation.reading.lexemes import Lexeme
from qdeploy.generation.reading.spans import Span

CALL, END_CALL = "<tool_call>", "</tool_call>"
IGNORED = " \t\r\n}]"
"""What may follow a whole call, up to its closing tag, without being told: a brace too many."""


@dataclass(frozen=True)
class Arguments:
    """The next characters of a call's arguments; the first ones come with the function's name."""

    text: str
    name: str | None = None


class Body(ABC):
    """The text between the tags of one call. Its attributes are plain data: a trial copies it.

    Attributes:
        name: the function, as soon as it may be told.
        whole: whether all of the call is there, but for its closing tag.
        rest: what follows a whole call.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.whole = False
        self.rest = ""

    @property
    @abstractmethod
    def inside(self) -> bool:
        """Whether a closing tag at this place would be part of a value."""

    @property
    def sound(self) -> bool:
        """Whether a whole call is without mistakes."""
        return True

    @abstractmethod
    def feed(self, text: str) -> str:
        """Read the next characters, and return those that they add to the arguments."""

    @abstractmethod
    def end(self) -> Arguments | None:
        """Return what is left to tell when the call ends; None if it names no function."""


class CallReader:
    """Reads one call, from its opening tag on.

    Attributes:
        closed: whether the call has ended.
        told: whether its function has been told.
    """

    def __init__(self, opening: Lexeme, body: Body) -> None:
        self._body = body
        self._seen = [opening]
        self._held: list[Lexeme] = []
        self._trial = body
        self.told = False
        self.closed = False

    def push(self, lexeme: Lexeme) -> Iterator[Arguments | Lexeme]:
        """Read on. What turns out to be no part of the call comes back as a lexeme."""
        if self._held:
            yield from self._try(lexeme)
        elif lexeme.tag == END_CALL and self._body.inside:
            self._trial = copy.copy(self._body)
            yield from self._try(lexeme)
        elif lexeme.tag == END_CALL:
            yield from self._end(lexeme)
        elif lexeme.tag == CALL and not self._body.inside:  # the closing tag is missing
            yield from self._end()
            yield lexeme
        else:
            yield from self._feed(lexeme)

    def finish(self, *, stopped: bool) -> Iterator[Arguments | Lexeme]:
        """End with the answer. *stopped* says that the model ended it, and no limit."""
        if stopped and self._held:
            yield from self._end_before()
        elif stopped or self._body.whole:
            yield from self._end()

    def _feed(self, lexeme: Lexeme) -> Iterator[Arguments]:
        self._seen.append(lexeme)
        text = self._body.feed(lexeme.span.text)
        if text or (self._body.name is not None and not self.told):
            yield self._part(text, self._body.name)

    def _part(self, text: str, name: str | None) -> Arguments:
        first, self.told = not self.told, True
        return Arguments(text, name if first else None)

    def _try(self, lexeme: Lexeme) -> Iterator[Arguments | Lexeme]:
        """Read on after a closing tag in a value, which may turn out to be the call's end."""
        again = bool(self._held) and lexeme.tag == END_CALL and not self._trial.inside
        self._held.append(lexeme)
        if not again:
            self._trial.feed(lexeme.span.text)
        if self._trial.whole and self._trial.sound:
            held, self._held = self._held, []
            for each in held:
                yield from self._feed(each)
        elif again or self._trial.whole:
            yield from self._end_before()

    def _end_before(self) -> Iterator[Arguments | Lexeme]:
        """End at the closing tag that was held back first, and give back what follows it."""
        tag, *after = self._held
        yield from self._end(tag)
        yield from after

    def _end(self, tag: Lexeme | None = None) -> Iterator[Arguments | Lexeme]:
        self.closed = True
        last, end = self._body.end(), self._seen[-1].span.end
        if last is None:
            yield from (Lexeme(each.span) for each in (*self._seen, *([tag] if tag else [])))
            return
        if last.text or not self.told:
            yield self._part(last.text, last.name)
        if self._body.rest.strip(IGNORED):
            yield Lexeme(Span(self._body.rest, end - len(self._body.rest)))
