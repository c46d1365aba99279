"""Answer a chat: render and tokenize it, run the session, and read what it makes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

from qdeploy.errors import InputError, PromptError
from qdeploy.generation.latency import Timing
from qdeploy.generation.pieces import FinishReason, Piece, ToolCall, tool_calls
from qdeploy.generation.prompt import make_prompt, may_think, wanted_thinking
from qdeploy.generation.reading.answer import AnswerReader
from qdeploy.generation.reading.calls import CALL
from qdeploy.generation.reasoning import early_stop
from qdeploy.generation.requests import Requests
from qdeploy.generation.schema import check_schema
from qdeploy.generation.settings import Settings
from qdeploy.generation.tools import Forced, Offer, offer
from qdeploy.interface import Session, Token
from qdeploy.tokenization.tokenizer import END_THINK, THINK, Message, Tokenizer


class Generation:
    """One answer. Iterate over it once for the pieces, then read the results.

    Closing the iterator early stops the runtime. The results then hold what was generated so far.
    Pieces joined are the results, so an answer is the same streamed and whole.

    Most answers take one request to the session. A second one follows where the thinking has ended
    and the rest is bound: a thinking budget ran out, a tool call is required, or the content has to
    keep to a JSON schema.

    Raises:
        InputError: settings contradict each other, or ask for what the model or the session cannot
            do.
        PromptError: a message is malformed; or the prompt does not fit the session, or leaves no
            room for a thinking budget.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        settings: Settings,
    ) -> None:
        self._session, self._tokenizer, self._settings = session, tokenizer, settings
        offered = offer(
            settings.tools,
            settings.tool_choice,
            tokenizer.chat_template.source,
            follows_schemas=session.limits.json_schema,
        )
        self._forced = offered.forced or _schema(settings, offered)
        prompt = make_prompt(tokenizer, messages, settings, offered.tools)
        self._prompt = prompt.ids
        self._may_think = may_think(tokenizer, prompt, settings)
        self._early_stop = early_stop(tokenizer)
        self._ending = tuple(tokenizer.encode(self._early_stop))
        self._opening: tuple[int, ...] = ()
        if self._forced and self._forced.call is not None:
            self._opening = tuple(tokenizer.encode(CALL + self._forced.call))
        self._check_prompt()
        self._requests = Requests(
            session, tokenizer, settings,
            prompt_tokens=len(self._prompt), thinking=wanted_thinking(settings),
        )  # fmt: skip
        self.sampling = self._requests.sampling
        once = not settings.parallel_tool_calls
        self._reader = AnswerReader(
            tokenizer,
            thinking=prompt.thinking,
            body=offered.body,
            one_call=once or (offered.forced is not None and offered.forced.once),
            stop=settings.stop,
        )
        self.pieces: list[Piece] = []
        self.finish_reason: FinishReason = "cancelled"

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

    @property
    def _most_before_ending(self) -> int:
        """Most tokens of thinking: prompt, thinking and ending become the next request's prompt."""
        after = len(self._ending) + len(self._opening)
        return self._session.prompt_limit - self.prompt_tokens - after

    @property
    def prompt_tokens(self) -> int:
        return len(self._prompt)

    @property
    def reasoning_tokens(self) -> int:
        """How many of the tokens are thinking, its tags left out."""
        return self._reader.thinking_tokens

    @property
    def tokens(self) -> list[Token]:
        """All tokens that were generated, each with the text that it completed."""
        return self._reader.tokens

    @property
    def text(self) -> str:
        """The content generated so far: its pieces joined."""
        return "".join(piece.text for piece in self.pieces if piece.channel == "content")

    @property
    def thinking(self) -> str:
        """The reasoning generated so far: its pieces joined."""
        return "".join(piece.text for piece in self.pieces if piece.channel == "reasoning")

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls generated so far. Where the length limit cut the answer, so may be the last."""
        return tool_calls(self.pieces)

    @property
    def stop_text(self) -> str | None:
        """The stop text that ended the answer, if any."""
        return self._reader.stop_text

    @property
    def timing(self) -> Timing:
        return self._requests.timing(self.tokens)

    def __iter__(self) -> Generator[Piece, None, None]:
        for piece in self._answer():
            self.pieces.append(piece)
            yield piece

    def _answer(self) -> Iterator[Piece]:
        reader, forced, budget = self._reader, self._forced, self._settings.thinking_budget
        self._requests.start()
        if forced is None or self._may_think:
            if budget != 0 or not reader.thinking:  # 0 allows not even the first token
                yield from self._stream(self._prompt, budget=budget, thinking_only=bool(forced))
            if self.finish_reason != "cancelled":
                return
        between = self._ending if reader.thinking else ()
        if forced and reader.tokens and not reader.thinking:
            between = tuple(self._tokenizer.encode("\n\n"))  # as the early stop has it
        prompt = (*self._prompt, *(t.id for t in reader.tokens), *between, *self._opening)
        if self._requests.room(len(prompt), len(reader.tokens)) < 1:
            self.finish_reason = "length"
            return
        if reader.thinking:
            yield from reader.end_thinking(self._early_stop.removesuffix(f"{END_THINK}\n\n"))
        if forced and forced.call is not None:
            yield from reader.begin_call(forced.call)
        yield from self._stream(prompt, json_schema=forced.json_schema if forced else None)

    def _stream(
        self,
        prompt: tuple[int, ...],
        *,
        budget: int | None = None,
        thinking_only: bool = False,
        json_schema: str | None = None,
    ) -> Iterator[Piece]:
        """Yield the pieces of one request.

        Sets `finish_reason`, unless another request follows: the thinking budget ran out, or
        nothing but thinking was asked for and it is over.
        """
        reader, stops = self._reader, self._tokenizer.stop_ids
        begins = self._tokenizer.id_of(THINK)
        sent = self._requests.send(prompt, len(reader.tokens), json_schema)
        with closing(sent) as stream:
            for token in stream:
                if thinking_only and (
                    token.id in stops or not (reader.thinking or token.id == begins)
                ):
                    break  # the token is left out: the rest is bound to be another
                yield from reader.push(token)
                if token.id in stops or reader.ended:
                    yield from self._end(stopped=True)
                    return
                if thinking_only and not reader.thinking:
                    break
                if budget is not None and reader.thinking:
                    most = len(reader.tokens) >= self._most_before_ending
                    if most or reader.thinking_tokens >= budget:
                        break
            else:
                yield from self._end(stopped=False)
                return
        yield from reader.pause()

    def _end(self, *, stopped: bool) -> Iterator[Piece]:
        """End the answer, and yield the pieces that were held back."""
        yield from self._reader.finish(stopped=stopped)
        self.finish_reason = "length"
        if stopped:
            self.finish_reason = "tool_calls" if self._reader.calls else "stop"


def _schema(settings: Settings, offered: Offer) -> Forced | None:
    """Return what the content is bound to, where a JSON schema is asked for.

    Raises:
        InputError: the schema is not an object in JSON, or tools are offered, too.
    """
    if settings.json_schema is None:
        return None
    if offered.tools:
        raise InputError(
            "an answer that keeps to a JSON schema cannot call tools",
            fix='leave out the schema or the tools, or set the tool choice to "none"',
        )
    check_schema(settings.json_schema)
    return Forced(None, settings.json_schema)
