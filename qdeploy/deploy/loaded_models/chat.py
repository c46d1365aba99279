"""A loaded model that generates: chat, stream, score. The base class is in `model`.

The examples below are run by the tests, with `model` being qwen3-nano loaded on the CPU.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.bundle import Bundle
from qdeploy.deploy.loaded_models.answers import Answer, AnswerOptions, check_options
from qdeploy.deploy.loaded_models.model import Model
from qdeploy.deploy.run import Choice
from qdeploy.generation.generate import Generation
from qdeploy.generation.reasoning import sampling_for
from qdeploy.generation.seed import SEEDS
from qdeploy.generation.settings import Settings
from qdeploy.generation.system import with_system
from qdeploy.interface import Session
from qdeploy.tokenization.tokenizer import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack


SAMPLED = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty",
)  # fmt: skip
"""Options that replace a field of the model's default sampling."""


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
            messages: the user's prompt, or all turns as `{"role": ..., "content": ...}`. They
                may be as in OpenAI's API: content in parts, `tool_calls`, the role `tool`.
            options: `system`, `thinking`, `max_new_tokens`, `temperature`, `tools` and so on; see
                `AnswerOptions`.

        Raises:
            PromptError: the prompt does not fit the context, or the chat template refuses it.
            InputError: a number out of its range, thinking that this model cannot switch, two
                system prompts, tools that its template does not take, or a schema that the runtime
                cannot follow.
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
        with their `text` and `channel`, which is `reasoning`, `content` or `tool_call`. Leaving
        the loop early stops the runtime. `answer` makes an `Answer` of what was generated.

        Examples:
            >>> chat = [{"role": "user", "content": "What is 12 + 30?"}]
            >>> stream = model.stream(chat, temperature=0)
            >>> "".join(piece.text for piece in stream if piece.channel == "content")
            '42'
            >>> model.answer(stream).finish_reason
            'stop'
        """
        check_options(options, AnswerOptions)
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if (system := options.get("system")) is not None:
            messages = with_system(self.tokenizer, system, messages)
        stop = options.get("stop") or ()
        thinking, seed = options.get("thinking"), options.get("seed")
        given: Any = {name: value for name, value in options.items() if name in SAMPLED}
        sampling = sampling_for(self.tokenizer, thinking, given)
        settings = Settings(
            thinking=thinking,
            thinking_budget=options.get("thinking_budget"),
            max_new_tokens=options.get("max_new_tokens"),
            sampling=sampling,
            seed=secrets.randbelow(SEEDS) if seed is None else seed,
            tools=tuple(options.get("tools") or ()),
            tool_choice=options.get("tool_choice", "auto"),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            json_schema=_schema_text(options.get("json_schema")),
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
            device=self.choice.device_names,
            placement=self.placement,
            tool_calls=stream.tool_calls,
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


def _schema_text(schema: Mapping[str, Any] | str | None) -> str | None:
    return schema if schema is None or isinstance(schema, str) else json.dumps(schema)
