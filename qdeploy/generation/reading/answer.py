"""An answer's tokens become its pieces: reasoning, content and tool calls."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence

from qdeploy.generation.pieces import CallPart, Channel, Piece
from qdeploy.generation.reading.calls import CALL, END_CALL, Arguments, Body, CallReader
from qdeploy.generation.reading.lexemes import Lexeme, Lexer
from qdeploy.generation.reading.spans import Span
from qdeploy.generation.reading.stop_texts import StopTexts
from qdeploy.interface import Token
from qdeploy.tokenization.tokenizer import END_THINK, THINK, Tokenizer


class AnswerReader:
    """Reads the tokens of one answer.

    The tags belong to no channel, nor do the blank lines around them. What is in the thinking is
    reasoning, tool calls included. Stop texts are looked for in the content.

    Args:
        thinking: whether the prompt has opened the thinking.
        body: makes the reader of a tool call; None takes calls as text.
        one_call: whether the answer ends after its first call.
        stop: stop texts.

    Attributes:
        thinking: whether the next token is reasoning.
        thinking_tokens: reasoning tokens so far.
        calls: tool calls so far.
        ended: whether the answer is over: a stop text was found, or its one call is whole.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        thinking: bool,
        body: Callable[[], Body] | None = None,
        one_call: bool = False,
        stop: Sequence[str] = (),
    ) -> None:
        self._lexer = Lexer(tokenizer, _tags(tokenizer, calls=body is not None))
        self._stop_ids, self._stop_texts = tokenizer.stop_ids, StopTexts(stop)
        self._body, self._one_call = body, one_call
        self._call: CallReader | None = None
        self._begun: set[Channel] = set()
        self._newlines: list[Span] = []  # held back: a tag may follow them
        self.thinking, self.thinking_tokens = thinking, 0
        self.calls = 0
        self.ended = False

    @property
    def tokens(self) -> list[Token]:
        """All tokens so far, each with the text that it completed."""
        return self._lexer.tokens

    @property
    def stop_text(self) -> str | None:
        """The stop text that ended the answer, if any."""
        return self._stop_texts.found

    def push(self, token: Token) -> Iterator[Piece]:
        """Read a token. A stop token has no text; what follows the answer's end is left out."""
        if token.id in self._stop_ids:
            self.tokens.append(token)
            return
        thinking = self.thinking
        for lexeme in self._lexer.push(token):
            yield from self._read(lexeme)
        if thinking and self.thinking:
            self.thinking_tokens += 1

    def finish(self, *, stopped: bool) -> Iterator[Piece]:
        """Read what was held back, at the end. *stopped*: the model ended it, and no limit."""
        yield from self.pause()
        cut = self._call is not None and not stopped
        while self._call is not None:
            call, self._call = self._call, None
            yield from self._events(call, call.finish(stopped=stopped))
        yield from self._flush_stop_texts()
        if not (self.calls or cut or self.thinking):  # no tag followed
            for each in self._newlines:
                yield Piece(each.text, "content", self._lexer.ledger.take(each))
        self._newlines = []

    def pause(self) -> Iterator[Piece]:
        """Read what incomplete characters and tags hold back: other tokens follow."""
        for lexeme in self._lexer.flush():
            yield from self._read(lexeme)

    def end_thinking(self, last: str) -> Iterator[Piece]:
        """Read *last* as the end of the thinking, which the model did not write."""
        yield from self._read(self._lexer.insert(last))
        self.thinking, self._newlines = False, []

    def begin_call(self, beginning: str) -> Iterator[Piece]:
        """Read the *beginning* of a tool call, after its tag, which the model did not write."""
        yield from self._read(self._lexer.insert(CALL, tag=True))
        yield from self._read(self._lexer.insert(beginning))

    def _read(self, lexeme: Lexeme) -> Iterator[Piece]:
        if self.ended:
            return
        if self._call is not None:
            yield from self._events(self._call, self._call.push(lexeme))
        elif self.thinking:
            if lexeme.tag == END_THINK:
                self.thinking, self._newlines = False, []
            elif lexeme.tag != THINK:
                yield from self._emit(self._begin(lexeme.span, "reasoning"), "reasoning")
        elif lexeme.tag is None:
            span = self._begin(lexeme.span, "content")
            yield from self._emit(self._stop_texts.push(span), "content")
            self.ended = self.stop_text is not None
        elif lexeme.tag in (THINK, CALL):
            yield from self._flush_stop_texts()
            if lexeme.tag == THINK:
                self.thinking, self._newlines = True, []
            elif self._body is not None:
                self._call = CallReader(lexeme, self._body())

    def _events(self, call: CallReader, events: Iterator[Arguments | Lexeme]) -> Iterator[Piece]:
        """Read what comes of a tool call: its parts, and what is none of it after all."""
        for event in events:
            if isinstance(event, Arguments):
                yield self._part(event)
                continue
            self._leave(call)
            yield from self._read(event)
        if call.closed:
            self._leave(call)

    def _leave(self, call: CallReader) -> None:
        """End the call that is being read, if it is this one."""
        if self._call is call:
            self._call = None
        self.ended = self.ended or (self._one_call and call.told)

    def _part(self, event: Arguments) -> Piece:
        if event.name is None:
            return Piece(event.text, "tool_call", call=CallPart(self.calls - 1))
        self.calls += 1
        part = CallPart(self.calls - 1, f"call_{secrets.token_hex(12)}", event.name)
        return Piece(event.text, "tool_call", call=part)

    def _flush_stop_texts(self) -> Iterator[Piece]:
        if (held := self._stop_texts.flush()) is not None:
            yield from self._emit(held, "content")

    def _begin(self, span: Span, channel: Channel) -> Span:
        """Return the text without the blank lines that a channel begins with."""
        if channel not in self._begun:
            span = span.cut(len(span.text) - len(span.text.lstrip("\n")))
        if span:
            self._begun.add(channel)
        return span

    def _emit(self, span: Span, channel: Channel) -> Iterator[Piece]:
        """Yield the text as pieces. Line breaks that a tag may follow are held back."""
        kept = len(span.text)
        if channel == "reasoning" or self._body is not None:
            kept = len(span.text.rstrip("\n"))
        if kept:
            before, self._newlines = self._newlines, []
            for each in (*before, span.cut(0, kept)):
                yield Piece(each.text, channel, self._lexer.ledger.take(each))
        if newlines := span.cut(kept):
            self._newlines.append(newlines)


def _tags(tokenizer: Tokenizer, *, calls: bool) -> list[str]:
    """Return the tags of a model: those that are its tokens, or that its template writes."""
    known = [THINK, END_THINK, *((CALL, END_CALL) if calls else ())]
    source = tokenizer.chat_template.source
    return [tag for tag in known if tokenizer.id_of(tag) is not None or tag in source]
