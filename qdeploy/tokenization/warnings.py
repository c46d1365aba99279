"""What a user must know about the text files of a model before it is exported."""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateSyntaxError

from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.generation_warnings import generation_warnings
from qdeploy.tokenization.tokenizer import environment


def text_warnings(folder: Path) -> tuple[str, ...]:
    """Warnings about the tokenizer and the chat template of the model in *folder*."""
    chat = _chat_warning(folder)
    return (*(() if chat is None else (chat,)), *generation_warnings(folder))


def _chat_warning(folder: Path) -> str | None:
    """A warning if the model cannot chat."""
    source = find_chat_template(folder)
    if source is None:
        return "the checkpoint has no chat template, so qdeploy run will refuse prompts"
    try:
        environment().parse(source)
    except TemplateSyntaxError as error:
        return f"the chat template cannot be read ({error}), so qdeploy run will refuse prompts"
    return None
