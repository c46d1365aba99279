"""An answer's tokens become text and tags.

Where the tokenizer has a tag as a token, that token alone is the tag: the same characters made of
others are text. Where it has not, the characters are the tag, however tokens cut them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from qdeploy.generation.reading.spans import Ledger, Span
from qdeploy.interface import Token
from qdeploy.tokenization.detokenizer import Detokenizer
from qdeploy.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Lexeme:
    """A tag, or text without tags.

    Attributes:
        span: its characters.
        tag: the tag, or None for text.
    """

    span: Span
    tag: str | None = None


class Lexer:
    """Reads tokens.

    Args:
        tags: the tags to be found.

    Attributes:
        tokens: all tokens so far, each with the text that it completed.
        ledger: which token made which characters.
    """

    def __init__(self, tokenizer: Tokenizer, tags: Iterable[str]) -> None:
        ids = {tag: tokenizer.id_of(tag) for tag in tags}
        self._ids = {number: tag for tag, number in ids.items() if number is not None}
        self._texts = [tag for tag, number in ids.items() if number is None]
        self._detokenizer = Detokenizer(tokenizer)
        self._held: Span | None = None
        self.tokens: list[Token] = []
        self.ledger = Ledger()

    def push(self, token: Token) -> Iterator[Lexeme]:
        """Read one token of the answer."""
        tag = self._ids.get(token.id)
        if tag is None:
            token = replace(token, text=self._detokenizer.push(token.id))
            self.tokens.append(token)
            yield from self._text(self.ledger.note(token, token.text))
        else:
            yield from self.flush()
            self.tokens.append(token)
            yield Lexeme(self.ledger.note(token, tag), tag)

    def insert(self, text: str, *, tag: bool = False) -> Lexeme:
        """Return *text*, which no token of the answer made, as read at this place."""
        return Lexeme(self.ledger.note(None, text), text if tag else None)

    def flush(self) -> Iterator[Lexeme]:
        """Return what was held back. Incomplete characters become U+FFFD."""
        yield from self._text(self.ledger.note(None, self._detokenizer.flush()))
        if self._held is not None:
            yield Lexeme(self._held)
            self._held = None

    def _text(self, span: Span) -> Iterator[Lexeme]:
        """Find the tags that are text, and hold back what may become one."""
        if not span.text:
            return
        if self._held is not None:
            span, self._held = self._held.joined(span), None
        while found := self._first_tag(span.text):
            place, tag = found
            if place:
                yield Lexeme(span.cut(0, place))
            yield Lexeme(span.cut(place, place + len(tag)), tag)
            span = span.cut(place + len(tag))
        held = longest_beginning(span.text, self._texts)
        if held:
            self._held = span.cut(len(span.text) - held)
            span = span.cut(0, len(span.text) - held)
        if span.text:
            yield Lexeme(span)

    def _first_tag(self, text: str) -> tuple[int, str] | None:
        places = [(text.find(tag), tag) for tag in self._texts]
        return min(((place, tag) for place, tag in places if place >= 0), default=None)


def longest_beginning(text: str, wanted: Iterable[str]) -> int:
    """Return how many of the last characters of *text* may begin one of the *wanted* texts."""
    return max(
        (n for each in wanted for n in range(1, min(len(each), len(text) + 1))
         if text.endswith(each[:n])),
        default=0,
    )  # fmt: skip
