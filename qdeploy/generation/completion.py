"""Continue a plain text, without a chat: what OpenAI's API calls a completion."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

from qdeploy.errors import PromptError
from qdeploy.generation.latency import Timing
from qdeploy.generation.pieces import FinishReason, Piece
from qdeploy.generation.prompt_logprobs import prompt_logprobs
from qdeploy.generation.reading.lexemes import Lexer
from qdeploy.generation.reading.stop_texts import StopTexts
from qdeploy.generation.requests import Requests
from qdeploy.generation.schema import check_schema
from qdeploy.generation.settings import Settings
from qdeploy.interface import Session, Token
from qdeploy.tokenization.detokenizer import Detokenizer
from qdeploy.tokenization.tokenizer import Tokenizer


class Completion:
    """One continuation. Iterate over it once for the pieces, then read the results.

    Closing the iterator early stops the runtime. All text is content: thinking tags and tool calls
    are text like any other. Of the settings, those of chats are not used. Stop texts and a JSON
    schema are about the continuation, not the prompt.

    Args:
        session: makes the tokens.
        tokenizer: the model's.
        prompt: a text, or token ids.
        settings: what is asked for.
        echo: whether the text begins with the prompt, and log-probabilities with its tokens'. The
            first of these has none.

    Raises:
        InputError: the session cannot do what the settings ask for.
        PromptError: the prompt is empty, or does not fit the session.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        prompt: str | Sequence[int],
        settings: Settings,
        *,
        echo: bool = False,
    ) -> None:
        self._session, self._tokenizer, self._settings = session, tokenizer, settings
        text = prompt if isinstance(prompt, str) else None
        if isinstance(prompt, str):
            prompt = (*tokenizer.prefix, *tokenizer.encode(prompt))
        if not prompt:
            raise PromptError("the prompt is empty", fix="give a text, or at least one token id")
        self._prompt, self._echo = tuple(prompt), echo
        session.check_prompt(self._prompt)
        self._shown = tokenizer.decode_raw(self._prompt) if text is None else text
        check_schema(settings.json_schema)
        self._requests = Requests(
            session, tokenizer, settings, prompt_tokens=len(self._prompt), thinking=None
        )
        self.sampling = self._requests.sampling
        self._lexer = Lexer(tokenizer, ())
        self._stop_texts = StopTexts(settings.stop)
        self.pieces: list[Piece] = []
        self.finish_reason: FinishReason = "cancelled"

    @property
    def prompt_tokens(self) -> int:
        return len(self._prompt)

    @property
    def tokens(self) -> list[Token]:
        """All tokens that were generated, each with the text that it completed."""
        return self._lexer.tokens

    @property
    def text(self) -> str:
        """The text so far: its pieces joined."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def stop_text(self) -> str | None:
        """The stop text that ended the continuation, if any."""
        return self._stop_texts.found

    @property
    def timing(self) -> Timing:
        return self._requests.timing(self.tokens)

    def __iter__(self) -> Generator[Piece, None, None]:
        self._requests.start()
        if self._echo:
            yield self._add(Piece(self._shown, "content", tuple(self._prompt_tokens())))
        yield from self._continue()

    def _prompt_tokens(self) -> Iterator[Token]:
        """The tokens of the prompt, with their text, and log-probabilities where asked for."""
        detokenizer = Detokenizer(self._tokenizer)
        for token in prompt_logprobs(self._session, self._prompt, self._settings.logprobs):
            yield Token(
                token.id, token.timestamp, detokenizer.push(token.id), token.logprob,
                token.most_probable,
            )  # fmt: skip

    def _continue(self) -> Iterator[Piece]:
        stops, ended = self._tokenizer.stop_ids, False
        sent = self._requests.send(self._prompt, 0, self._settings.json_schema)
        with closing(sent) as stream:
            for token in stream:
                if token.id in stops:
                    self.tokens.append(token)
                    ended = True
                    break
                yield from self._read(token)
                if self.stop_text is not None:
                    ended = True
                    break
        yield from self._read(None)
        self.finish_reason = "stop" if ended else "length"

    def _read(self, token: Token | None) -> Iterator[Piece]:
        """Read one token, or the end."""
        for lexeme in self._lexer.flush() if token is None else self._lexer.push(token):
            if self.stop_text is None and (span := self._stop_texts.push(lexeme.span)):
                yield self._add(Piece(span.text, "content", self._lexer.ledger.take(span)))
        if token is None and (held := self._stop_texts.flush()):
            yield self._add(Piece(held.text, "content", self._lexer.ledger.take(held)))

    def _add(self, piece: Piece) -> Piece:
        self.pieces.append(piece)
        return piece
