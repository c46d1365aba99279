"""What loaded models take besides texts, and what they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from qdeploy.generation.pieces import FinishReason, ToolCall
from qdeploy.generation.settings import Tool, ToolChoice
from qdeploy.interface import Placement


def check_options(options: Mapping[str, Any], known: type) -> None:
    """Check that the TypedDict *known* has all options: what `Unpack` says to type checkers alone.

    Raises:
        TypeError: it has not.
    """
    if unknown := options.keys() - known.__annotations__.keys():
        raise TypeError(f"unexpected options: {', '.join(sorted(unknown))}")


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
        frequency_penalty: the same, times how often the answer holds the token.
        stop: a text, or several, that end the answer's content and are not part of it.
        json_schema: a JSON Schema, as an object or as text, that the content keeps to. Not every
            runtime follows one.
        tools: functions that the model may call, as OpenAI's API has them:
            `{"type": "function", "function": {"name": ..., "parameters": JSON Schema}}`.
        tool_choice: `auto`, `none`, `required`, or the function that must be called:
            `{"type": "function", "function": {"name": ...}}`.
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
    frequency_penalty: float | None
    stop: str | Sequence[str] | None
    json_schema: Mapping[str, Any] | str | None
    tools: Sequence[Tool]
    tool_choice: ToolChoice


@dataclass(frozen=True)
class Answer:
    """One answer and its figures.

    Attributes:
        text: the answer without its thinking.
        thinking: the thinking before it; None where there was none.
        finish_reason: `stop` at a stop token; `length` at the limit of tokens or of the context;
            `tool_calls` where the model calls tools; `cancelled` where the caller stopped reading.
        prompt_tokens: tokens of the prompt, chat template included.
        new_tokens: tokens generated, thinking included.
        ttft_ms: time to the first token, milliseconds; None without a token.
        tpot_ms: mean time per output token after the first, milliseconds; None for less than two.
        decode_tokens_per_s: 1000 / tpot_ms.
        target, backend, device: where it ran, by name.
        placement: where it ran, in the runtime's own words.
        tool_calls: the calls that the model asks for.
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
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a turn of a chat that goes on, e.g. with what the tools return."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tool_calls:  # in the chats that Qwen3 is trained on, they keep their thinking
            message["tool_calls"] = [call.as_dict() for call in self.tool_calls]
            message |= {"reasoning_content": self.thinking} if self.thinking else {}
        return message

    def as_dict(self) -> dict[str, Any]:
        """As plain data: the object that `qdeploy run --json` prints."""
        names = (
            "text", "thinking", "finish_reason", "prompt_tokens", "new_tokens", "ttft_ms",
            "tpot_ms", "decode_tokens_per_s", "target", "backend", "device",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {
            "evidence": str(self.placement.evidence),
            "placement": self.placement.as_dict(),
            "tool_calls": [call.as_dict() for call in self.tool_calls],
        }


class EmbedOptions(TypedDict, total=False):
    """What `embed` takes besides the texts.

    Attributes:
        prompt_name: one of the model's own prompts, e.g. `query`; None is its default.
        prompt: a prompt of your own in place of that. It is put before every text.
        dimensions: keep so many elements of a vector, as models trained for that allow
            (Matryoshka); None keeps all.
        batch_size: texts of a pass.
        truncate: cut texts that do not fit, instead of refusing them.
    """

    prompt_name: str | None
    prompt: str | None
    dimensions: int | None
    batch_size: int
    truncate: bool


class RerankOptions(TypedDict, total=False):
    """What `rerank` takes besides query and documents.

    Attributes:
        instruction: what makes a document relevant; None is Qwen3-Reranker's default.
        top_n: return so many of the best documents, best first; None returns all in their order.
        batch_size: documents of a pass.
        truncate: cut documents that do not fit, instead of refusing them.
    """

    instruction: str | None
    top_n: int | None
    batch_size: int
    truncate: bool


@dataclass(frozen=True)
class Ranked:
    """A document and its score.

    Attributes:
        index: its place among the documents.
        score: how likely it answers the query, from 0 to 1.
        tokens: tokens of query and document together, prompt included.
    """

    index: int
    score: float
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
