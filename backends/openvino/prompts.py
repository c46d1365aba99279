"""Refusing prompts that the runtime would answer with garbage or a crash."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.backends.openvino import npu
from qdeploy.backends.openvino.settings import Settings
from qdeploy.errors import PromptError


def check(ids: Sequence[int], settings: Settings, vocab_size: int) -> None:
    """Check a prompt before the runtime sees it.

    The NPU's limits have to be kept here: past them it gave garbled text without an error
    (openvino.genai issue 3255).

    Raises:
        PromptError: too short, too long, or token ids that the model does not have.
    """
    check_ids(ids, vocab_size)
    tokens = len(ids)
    if tokens < settings.prompt_minimum:
        raise PromptError(
            f"a prompt of {tokens} token; on {settings.device} it takes "
            f"{settings.prompt_minimum} or more",
            fix="add to the prompt, e.g. through the chat template",
        )
    if tokens >= settings.context:
        raise PromptError(
            f"the prompt has {tokens} tokens; the session holds {settings.context}, "
            "answer included",
            fix="shorten it, or load with a larger context",
        )
    if tokens > settings.prompt_limit:
        raise PromptError(
            f"the prompt has {tokens} tokens; the session was compiled for "
            f"{settings.prompt_limit} ({npu.PROMPT})",
            fix=f"shorten it, or raise {npu.PROMPT} in the profile",
        )


def check_ids(ids: Sequence[int], vocab_size: int) -> None:
    """Check the token ids themselves; an id outside the embedding reads foreign memory.

    Raises:
        PromptError: there are none, or one lies outside the vocabulary.
    """
    if not ids:
        raise PromptError("the prompt is empty", fix="give at least one token")
    wrong = next((i for i in ids if not 0 <= i < vocab_size), None)
    if wrong is not None:
        raise PromptError(
            f"token id {wrong} is outside the model's vocabulary of {vocab_size}",
            fix="use the tokenizer of the bundle",
        )
