"""The system prompt: the turn before all others."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.errors import InputError, PromptError
from qdeploy.tokenization.tokenizer import Message, Tokenizer


def with_system(tokenizer: Tokenizer, system: str, messages: Sequence[Message]) -> list[Message]:
    """Return the chat with a system prompt before its turns.

    Raises:
        InputError: the chat begins with a system prompt already.
        PromptError: the chat template leaves system prompts out, or refuses them.
    """
    if messages and messages[0].get("role") == "system":
        raise InputError(
            "there are two system prompts: the option's, and the first message",
            fix="give one of them",
        )
    chat = [_turn(system), *messages]
    # another text tells: the template of Qwen2.5 writes a system prompt of its own without one
    if tokenizer.render(chat) == tokenizer.render([_turn(f"{system}x"), *messages]):
        raise PromptError(
            "this model's chat template leaves out the system prompt",
            where=tokenizer.folder,
            fix="put its text into the first prompt",
        )
    return chat


def _turn(text: str) -> Message:
    return {"role": "system", "content": text}
