"""Texts that end an answer, found wherever tokens cut them."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.errors import InputError
from qdeploy.generation.reading.lexemes import longest_beginning
from qdeploy.generation.reading.spans import Span


class StopTexts:
    """Looks for stop texts in spans that follow each other.

    The one that is complete first wins; of those complete at the same character, the longest.

    Attributes:
        found: the stop text that was found, or None.

    Raises:
        InputError: a stop text is empty.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        if "" in texts:
            raise InputError("a stop text is empty", fix="leave it out")
        self._texts = texts
        self._held: Span | None = None
        self.found: str | None = None

    def push(self, span: Span) -> Span:
        """Return what is certain to come before any stop text; it may be empty."""
        if self._held is not None:
            span, self._held = self._held.joined(span), None
        places = [(span.text.find(stop), stop) for stop in self._texts]
        ends = [(place + len(stop), place, stop) for place, stop in places if place >= 0]
        if ends:
            _, place, self.found = min(ends)
            return span.cut(0, place)
        held = longest_beginning(span.text, self._texts)
        if held:
            self._held = span.cut(len(span.text) - held)
        return span.cut(0, len(span.text) - held)

    def flush(self) -> Span | None:
        """Return what was held back: nothing follows that could complete it."""
        held, self._held = self._held, None
        return held
