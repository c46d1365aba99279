"""Continue a plain text, without a chat: what OpenAI's API calls a completion."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace

from qdeploy.generation.latency import Timing
from qdeploy.generation.pieces import FinishReason, Piece
from qdeploy.generation.reasoning import default_sampling
from qdeploy.generation.settings import Settings
from qdeploy.interface import Request, Session, Token
from qdeploy.tokenization.detokenizer import Detokenizer
from qdeploy.tokenization.tokenizer import Tokenizer


class Completion:
    """One continuation. Iterate over it once for the pieces, then read the results.

    Closing the iterator early stops the runtime. All text is content: thinking tags and tool calls
    are text like any other. Of the settings, those of chats are not used.

    Args:
        prompt: a text, or token ids.

    Raises:
        PromptError: the prompt does not fit the session.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        prompt: str | Sequence[int],
        settings: Settings,
    ) -> None:
        self._session, self._tokenizer, self._settings = session, tokenizer, settings
        if isinstance(prompt, str):
            prompt = (*tokenizer.prefix, *tokenizer.encode(prompt))
        self._prompt = tuple(prompt)
        session.check_prompt(self._prompt)
        sampling = settings.sampling or default_sampling(tokenizer, None)
        self.sampling = replace(sampling, seed=settings.seed)
        self.tokens: list[Token] = []
        self.text = ""
        self.finish_reason: FinishReason = "cancelled"
        self._start = 0.0

    @property
    def prompt_tokens(self) -> int:
        return len(self._prompt)

    @property
    def timing(self) -> Timing:
        return Timing(self._start, tuple(t.timestamp for t in self.tokens))

    def __iter__(self) -> Generator[Piece, None, None]:
        self._start = time.perf_counter()
        stops, detokenizer = self._tokenizer.stop_ids, Detokenizer(self._tokenizer)
        room = self._session.context - self.prompt_tokens
        asked = self._settings.max_new_tokens
        most = room if asked is None else min(asked, room)
        request = Request(self._prompt, most, self.sampling, stops)
        ended: FinishReason = "length"
        with closing(self._session.generate(request)) as stream:
            for token in stream:
                if token.id in stops:
                    ended = "stop"
                text = "" if token.id in stops else detokenizer.push(token.id)
                self.tokens.append(replace(token, text=text))
                if text:
                    self.text += text
                    yield Piece(text, "content")
        if text := detokenizer.flush():
            self.text += text
            yield Piece(text, "content")
        self.finish_reason = ended
