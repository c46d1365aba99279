"""Answer a chat: render and tokenize it, run the session, split and detokenize the tokens."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from qdeploy.errors import InputError, PromptError
from qdeploy.generation.latency import Timing
from qdeploy.generation.pieces import Channel, FinishReason, Piece
from qdeploy.generation.reasoning import ReasoningParser, default_sampling, early_stop
from qdeploy.generation.settings import Settings
from qdeploy.interface import Request, Session, Token
from qdeploy.tokenization.detokenizer import Detokenizer
from qdeploy.tokenization.tokenizer import END_THINK, Message, Tokenizer


class Generation:
    """One answer. Iterate over it once for the pieces, then read the results.

    Closing the iterator early stops the runtime. The results then hold what was generated so far.

    Raises:
        InputError: the chat template has no thinking switch, and `thinking` is set.
        PromptError: the prompt does not fit the session, or leaves no room for a thinking budget.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        settings: Settings,
    ) -> None:
        self._session, self._tokenizer, self._settings = session, tokenizer, settings
        if settings.thinking is not None and not tokenizer.has_thinking_switch:
            raise InputError(
                "this model's chat template has no thinking switch",
                where=tokenizer.folder,
                fix="leave out --think and --no-think",
            )
        self._prompt = tuple(
            tokenizer.encode(tokenizer.render(messages, thinking=settings.thinking))
        )
        self._early_stop = early_stop(tokenizer)
        self._ending = tuple(tokenizer.encode(self._early_stop))
        self._check_prompt()
        self._most = self._most_new_tokens()
        sampling = settings.sampling or default_sampling(tokenizer, settings.thinking)
        self.sampling = replace(sampling, seed=settings.seed)
        self._pieces: dict[Channel, list[str]] = {"reasoning": [], "content": []}
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason = "cancelled"
        self._resumed: set[int] = set()
        self._newlines = ""
        self._start = 0.0

    def _check_prompt(self) -> None:
        """Raise PromptError where the prompt, or the end of a thinking budget, does not fit."""
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

    def _most_new_tokens(self) -> int | None:
        """Most tokens of the answer, as asked or as the model's settings say; None is no limit.

        Raises:
            PromptError: the settings limit prompt and answer together, and the prompt is longer.
        """
        config = self._tokenizer.generation_config
        if (asked := self._settings.max_new_tokens or config.max_new_tokens) is not None:
            return asked
        if config.max_length is None:
            return None
        if config.max_length <= self.prompt_tokens:
            raise PromptError(
                f"the prompt has {self.prompt_tokens} tokens, and max_length = {config.max_length} "
                f"of generation_config.json leaves none for the answer",
                where=self._tokenizer.folder,
                fix="say how many tokens to generate: --max-new-tokens N",
            )
        return config.max_length - self.prompt_tokens

    @property
    def _most_before_ending(self) -> int:
        """Most tokens of thinking: prompt, thinking and ending become the next request's prompt."""
        return self._session.prompt_limit - self.prompt_tokens - len(self._ending)

    def _room(self, prompt_tokens: int) -> int:
        """Return how many tokens may be generated after a prompt of this length."""
        if prompt_tokens > self._session.prompt_limit:
            return 0
        left = self._session.context - prompt_tokens
        return left if self._most is None else min(left, self._most - len(self.tokens))

    @property
    def prompt_tokens(self) -> int:
        return len(self._prompt)

    @property
    def text(self) -> str:
        """The content generated so far: its pieces joined."""
        return "".join(self._pieces["content"])

    @property
    def thinking(self) -> str:
        """The reasoning generated so far: its pieces joined."""
        return "".join(self._pieces["reasoning"])

    @property
    def timing(self) -> Timing:
        stamps = tuple(t.timestamp for t in self.tokens)
        return Timing(self._start, stamps, frozenset(self._resumed))

    def __iter__(self) -> Generator[Piece, None, None]:
        parser = ReasoningParser(self._tokenizer, self._prompt)
        budget = self._settings.thinking_budget
        self._start = time.perf_counter()
        if budget != 0 or not parser.thinking:  # a budget of 0 allows not even the first token
            yield from self._stream(self._prompt, parser, budget)
        if budget is not None and parser.thinking and self.finish_reason == "cancelled":
            prompt = (*self._prompt, *(t.id for t in self.tokens), *self._ending)
            if self._room(len(prompt)) < 1:
                self.finish_reason = "length"
                return
            yield from self._emit(self._early_stop.removesuffix(f"{END_THINK}\n\n"), "reasoning")
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
        """Yield *text* as a piece, without the blank lines around the thinking tags."""
        if not self._pieces[channel]:
            text = text.lstrip("\n")
        if channel == "reasoning":  # hold newlines back: the closing tag may follow them
            text = self._newlines + text
            self._newlines = text[len(text.rstrip("\n")) :]
            text = text.rstrip("\n")
        if text:
            self._pieces[channel].append(text)
            yield Piece(text, channel)
