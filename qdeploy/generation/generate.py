"""From a chat to text: what every backend's tokens go through on their way to the user."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from qdeploy.errors import InputError, PromptError
from qdeploy.generation.latency import Timing
from qdeploy.generation.reasoning import EARLY_STOP, Channel, ReasoningParser, default_sampling
from qdeploy.interface import Request, Sampling, Session, Token
from qdeploy.tokenization.tokenizer import END_THINK, Detokenizer, Message, Tokenizer

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Settings:
    """What a user may ask for besides the prompt. None means the model's own default.

    Attributes:
        max_new_tokens: thinking included; None is what the context leaves.
        thinking_budget: most tokens of thinking, after which the model is made to answer; fewer
            where they and the sentence that ends them would not fit into the session's prompts.
    """

    think: bool | None = None
    thinking_budget: int | None = None
    max_new_tokens: int | None = None
    sampling: Sampling | None = None
    seed: int = 0


@dataclass(frozen=True)
class Piece:
    """Characters that became complete, and which channel they belong to."""

    text: str
    channel: Channel


class Generation:
    """One answer being made: iterate over it for the pieces, then read its results.

    Closing the iterator early stops the runtime; what came until then stays readable.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        settings: Settings,
    ) -> None:
        self._session, self._tokenizer, self._settings = session, tokenizer, settings
        if settings.think is not None and not tokenizer.has_thinking_switch:
            raise InputError(
                "this model's chat template has no thinking switch",
                where=tokenizer.folder,
                fix="leave out --think and --no-think",
            )
        self._prompt = tuple(tokenizer.encode(tokenizer.render(messages, think=settings.think)))
        self._ending = tuple(tokenizer.encode(EARLY_STOP))
        self._check_prompt()
        sampling = settings.sampling or default_sampling(tokenizer, settings.think)
        self.sampling = replace(sampling, seed=settings.seed)
        self._pieces: dict[Channel, list[str]] = {"reasoning": [], "content": []}
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason = "cancelled"
        self._resumed: set[int] = set()
        self._newlines = ""
        self._start = 0.0

    def _check_prompt(self) -> None:
        """Raise PromptError for a prompt too long to answer, or to end its thinking early."""
        self._session.check_prompt(self._prompt)
        tokens, limit = self.prompt_tokens, self._session.prompt_limit
        if self._settings.thinking_budget is not None and self._most_before_ending < 1:
            raise PromptError(
                f"the prompt has {tokens} tokens, which leaves nothing for a thinking budget: "
                f"ending the thinking takes {len(self._ending)} more, and the session takes a "
                f"prompt of {limit}",
                fix="shorten the prompt, leave out the thinking budget, or give a longer "
                "--context, here or to export",
            )

    @property
    def _most_before_ending(self) -> int:
        """Tokens after which the ending still fits: with it they are part of a new prompt."""
        return self._session.prompt_limit - self.prompt_tokens - len(self._ending)

    def _room(self, prompt_tokens: int) -> int:
        """Tokens that may still be generated after a prompt of this length."""
        if prompt_tokens > self._session.prompt_limit:
            return 0
        left = self._session.context - prompt_tokens
        most = self._settings.max_new_tokens
        return left if most is None else min(left, most - len(self.tokens))

    @property
    def prompt_tokens(self) -> int:
        return len(self._prompt)

    @property
    def text(self) -> str:
        """The answer so far: all its pieces joined."""
        return "".join(self._pieces["content"])

    @property
    def thinking(self) -> str:
        """The thinking so far: all its pieces joined."""
        return "".join(self._pieces["reasoning"])

    @property
    def timing(self) -> Timing:
        stamps = tuple(t.timestamp for t in self.tokens)
        return Timing(self._start, stamps, frozenset(self._resumed))

    def __iter__(self) -> Generator[Piece, None, None]:
        parser = ReasoningParser(self._tokenizer, self._prompt)
        budget = self._settings.thinking_budget
        self._start = time.perf_counter()
        if budget != 0 or not parser.thinking:  # else not even the first token may be thinking
            yield from self._stream(self._prompt, parser, budget)
        if budget is not None and parser.thinking and self.finish_reason == "cancelled":
            prompt = (*self._prompt, *(t.id for t in self.tokens), *self._ending)
            if self._room(len(prompt)) < 1:
                self.finish_reason = "length"
                return
            yield from self._emit(EARLY_STOP.removesuffix(f"{END_THINK}\n\n"), "reasoning")
            for token in self._ending:
                parser.push(token)
            self._resumed.add(len(self.tokens))
            yield from self._stream(prompt, parser, None)

    def _stream(
        self, prompt: tuple[int, ...], parser: ReasoningParser, budget: int | None
    ) -> Iterator[Piece]:
        """Yield the pieces of one request.

        Sets `finish_reason`, unless it ends because the thinking budget ran out.
        """
        stops = self._tokenizer.stop_ids
        channel: Channel = "reasoning" if parser.thinking else "content"
        detokenizer = Detokenizer(self._tokenizer)
        request = Request(prompt, self._room(len(prompt)), self.sampling, stops)
        with closing(self._session.generate(request)) as stream:
            for token in stream:
                belongs = None if token.id in stops else parser.push(token.id)
                if belongs != channel:
                    yield from self._emit(detokenizer.flush(), channel)
                    channel = belongs or channel
                text = detokenizer.push(token.id) if belongs else ""
                self.tokens.append(replace(token, text=text))
                yield from self._emit(text, channel)
                if token.id in stops:
                    self.finish_reason = "stop"
                    return
                if budget is not None and parser.thinking:
                    most = len(self.tokens) >= self._most_before_ending
                    if most or parser.thinking_tokens >= budget:
                        break
            else:
                self.finish_reason = "length"
        yield from self._emit(detokenizer.flush(), channel)

    def _emit(self, text: str, channel: Channel) -> Iterator[Piece]:
        """Yield *text* as a piece; the blank lines around the thinking tags are left out."""
        if not self._pieces[channel]:
            text = text.lstrip("\n")
        if channel == "reasoning":  # its newlines wait for what follows them, which may be the tag
            text = self._newlines + text
            self._newlines = text[len(text.rstrip("\n")) :]
            text = text.rstrip("\n")
        if text:
            self._pieces[channel].append(text)
            yield Piece(text, channel)
