"""A loaded model that generates: chat, stream, score. The base class is in `loaded`.

The examples below are run by the tests, with `model` being qwen3-nano loaded on the CPU.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from qdeploy.bundle import Bundle
from qdeploy.deploy.loaded import Model
from qdeploy.deploy.run import Choice
from qdeploy.generation.generate import FinishReason, Generation, Settings
from qdeploy.generation.reasoning import sampling_for
from qdeploy.generation.seed import SEEDS
from qdeploy.generation.system import with_system
from qdeploy.interface import Placement, Session
from qdeploy.tokenization.tokenizer import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack


class AnswerOptions(TypedDict, total=False):
    """What `chat` and `stream` take besides the messages.

    Attributes:
        system: the system prompt, which comes before all turns.
        thinking: think before answering, or do not. None is the model's default.
        thinking_budget: most tokens of thinking, after which the model is made to answer.
        max_new_tokens: most tokens to generate, thinking included. None is what the model's
            generation_config.json says, or else all that the context leaves.
        seed: the same seed gives the same answer on the same machine. None draws one.
        temperature: 0 is greedy. None, here and below, is the value that the model's
            generation_config.json or its makers recommend, or else transformers' default.
        top_p: keep the most probable tokens that together have this probability.
        top_k: keep this many of the most probable tokens; 0 keeps all.
        min_p: keep the tokens at least this many times as probable as the most probable one.
        repetition_penalty: over 1 makes the tokens of prompt and answer less probable.
        presence_penalty: over 0 makes the tokens of the answer less probable. They count from the
            end of the thinking where a thinking budget ended it.
    """

    system: str | None
    thinking: bool | None
    thinking_budget: int | None
    max_new_tokens: int | None
    seed: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None


SAMPLED = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
)  # fmt: skip
"""Options that replace a field of the model's default sampling."""


@dataclass(frozen=True)
class Answer:
    """One answer and its figures.

    Attributes:
        text: the answer without its thinking.
        thinking: the thinking before it; None where there was none.
        finish_reason: `stop` at a stop token; `length` at the limit of tokens or of the context;
            `cancelled` where the caller stopped reading.
        prompt_tokens: tokens of the prompt, chat template included.
        new_tokens: tokens generated, thinking included.
        ttft_ms: time to the first token, milliseconds; None without a token.
        tpot_ms: mean time per output token after the first, milliseconds; None for less than two.
        decode_tokens_per_s: 1000 / tpot_ms.
        target, backend, device: where it ran, by name.
        placement: where it ran, in the runtime's own words.
    """

    text: str
    thinking: str | None
    finish_reason: FinishReason
    prompt_tokens: int
    new_tokens: int
    ttft_ms: float | None
    tpot_ms: float | None
    decode_tokens_per_s: float | None
    target: str
    backend: str
    device: str
    placement: Placement

    def as_dict(self) -> dict[str, Any]:
        """As plain data: the object that `qdeploy run --json` prints."""
        names = (
            "text", "thinking", "finish_reason", "prompt_tokens", "new_tokens", "ttft_ms",
            "tpot_ms", "decode_tokens_per_s", "target", "backend", "device",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {
            "evidence": str(self.placement.evidence),
            "placement": self.placement.as_dict(),
        }


class ChatModel(Model):
    """A model that generates, loaded on a device.

    Attributes:
        session: the backend's session, for requests in token ids.
    """

    def __init__(self, bundle: Bundle, choice: Choice, session: Session) -> None:
        super().__init__(bundle, choice, session)
        self.session = session

    def chat(self, messages: str | Sequence[Message], **options: Unpack[AnswerOptions]) -> Answer:
        """Answer a prompt, or the last turn of a chat.

        Args:
            messages: the user's prompt, or all turns as `{"role": ..., "content": ...}`.
            options: `system`, `thinking`, `max_new_tokens`, `temperature` and so on; see
                `AnswerOptions`.

        Raises:
            PromptError: the prompt does not fit the context, or the chat template refuses it.
            InputError: a number out of its range, thinking that this model cannot switch, or two
                system prompts.
            GenerationFailed: the runtime broke, or the model is closed.
            TypeError: an option with another name.

        Examples:
            >>> answer = model.chat("What is 12 + 30?", thinking=True, temperature=0)
            >>> answer.text, answer.finish_reason
            ('42', 'stop')
            >>> "carry" in answer.thinking
            True
            >>> sampled = model.chat("What is 12 + 30?", seed=1, max_new_tokens=8)
            >>> sampled.new_tokens <= 8
            True
        """
        stream = self.stream(messages, **options)
        for _ in stream:
            pass
        return self.answer(stream)

    def stream(
        self, messages: str | Sequence[Message], **options: Unpack[AnswerOptions]
    ) -> Generation:
        """Like `chat`, piece by piece as the runtime makes them.

        The arguments and errors are those of `chat`. Iterate over the result once, for pieces
        with their `text` and `channel`, which is `reasoning` or `content`. Leaving the loop early
        stops the runtime. `answer` makes an `Answer` of what was generated.

        Examples:
            >>> chat = [{"role": "user", "content": "What is 12 + 30?"}]
            >>> stream = model.stream(chat, temperature=0)
            >>> "".join(piece.text for piece in stream if piece.channel == "content")
            '42'
            >>> model.answer(stream).finish_reason
            'stop'
        """
        if unknown := options.keys() - AnswerOptions.__annotations__.keys():
            raise TypeError(f"unexpected options: {', '.join(sorted(unknown))}")
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if (system := options.get("system")) is not None:
            messages = with_system(self.tokenizer, system, messages)
        thinking, seed = options.get("thinking"), options.get("seed")
        given: Any = {name: value for name, value in options.items() if name in SAMPLED}
        sampling = sampling_for(self.tokenizer, thinking, given)
        settings = Settings(
            thinking=thinking,
            thinking_budget=options.get("thinking_budget"),
            max_new_tokens=options.get("max_new_tokens"),
            sampling=sampling,
            seed=secrets.randbelow(SEEDS) if seed is None else seed,
        )
        return Generation(self.session, self.tokenizer, messages, settings)

    def answer(self, stream: Generation) -> Answer:
        """Return what *stream* has generated so far, with its figures."""
        timing = stream.timing
        return Answer(
            text=stream.text,
            thinking=stream.thinking or None,
            finish_reason=stream.finish_reason,
            prompt_tokens=stream.prompt_tokens,
            new_tokens=len(stream.tokens),
            ttft_ms=timing.ttft_ms,
            tpot_ms=timing.tpot_ms,
            decode_tokens_per_s=timing.decode_tokens_per_s,
            target=self.target,
            backend=self.backend,
            device=self.device.name,
            placement=self.placement,
        )

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return teacher-forced logits, float32 [T, V], for T token ids.

        Row t holds the logits of the token after `token_ids[: t + 1]`.

        Raises:
            PromptError: no ids, ids outside the vocabulary, or more than the context holds.
            GenerationFailed: the runtime broke, or the model is closed.

        Examples:
            >>> ids = model.tokenizer.encode("What is 12 + 30?")
            >>> logits = model.score(ids)
            >>> logits.shape == (len(ids), model.bundle.manifest.model.vocab_size)
            True
        """
        return self.session.score(token_ids)
