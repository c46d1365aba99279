"""The chat template of a model: which of its templates is used, and a chat rendered by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from qdeploy.errors import CheckpointError, PromptError
from qdeploy.storage.json_file import read_json
from qdeploy.tokenization.template_environment import ChatRefused, compile_template
from qdeploy.tokenization.text_files import (
    PROCESSOR_TEMPLATE_FILE,
    TEMPLATE_FILE,
    TOKENIZER_CONFIG_FILE,
    TextFiles,
)

KEY = "chat_template"
DEFAULT = "default"
SAVE = f"save the one to be used as {TEMPLATE_FILE} in the checkpoint"

MARK = "CONTINUE_FINAL_MESSAGE_TAG "
"""Put behind a message that is to be continued, as in transformers."""

Message = Mapping[str, Any]
"""One turn of a chat: `role`, `content`, and what else its template reads."""


class RenderOptions(TypedDict, total=False):
    """What `ChatTemplate.render` takes besides a chat and whether to think."""

    tools: Sequence[Mapping[str, Any]]
    variables: Mapping[str, Any] | None
    add_generation_prompt: bool
    continue_final_message: bool


@dataclass(frozen=True)
class ChatTemplate:
    """A template and what it may refer to.

    Attributes:
        source: Jinja.
        variables: text of `bos_token` and the other named special tokens, by their names.
        where: the model's folder, for messages.
    """

    source: str
    variables: Mapping[str, str]
    where: Path

    @property
    def has_thinking_switch(self) -> bool:
        return "enable_thinking" in self.source

    @property
    def fault(self) -> str | None:
        """Why the template cannot be used at all, or None."""
        try:
            compile_template(self.source)
        except Exception as error:  # of Jinja, or of the Python that it makes of a template
            return str(error)
        return None

    def render(
        self,
        messages: Sequence[Message],
        *,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> str:
        """Render a chat, as `apply_chat_template` of transformers does.

        Args:
            messages: the turns in order.
            thinking: the template's `enable_thinking`; None leaves the model's default.
            tools: functions that the model may call.
            variables: further ones that the template may read.
            add_generation_prompt: whether the assistant's next turn is begun.
            continue_final_message: whether the text ends with that of the last message, so that
                the model continues it.

        Raises:
            PromptError: the template refuses the chat, or fails, or leaves the last message out.
        """
        turns = list(messages)
        if continue_final_message:
            turns[-1] = {**turns[-1], "content": f"{turns[-1].get('content')}{MARK}"}
        settings: dict[str, Any] = {
            "documents": None,
            **self.variables,
            **(variables or {}),
            "messages": turns,
            "tools": list(tools) or None,
            "add_generation_prompt": add_generation_prompt,
        }
        if thinking is not None:
            settings["enable_thinking"] = thinking
        try:
            rendered = compile_template(self.source).render(settings)
        except ChatRefused as refusal:
            reason = f"the chat template does not take this chat: {refusal}"
        except Exception as error:  # a template is code that may raise anything
            reason = f"the chat template failed ({error})"
        else:
            return self._up_to_mark(rendered) if continue_final_message else rendered
        raise PromptError(reason, where=self.where, fix=self._without_system(messages, thinking))

    def _up_to_mark(self, rendered: str) -> str:
        """Cut a chat behind the text of its last message, whose end is marked."""
        place = rendered.rfind(MARK.strip())
        if place < 0:
            raise PromptError(
                "the chat template leaves out the last message, which is to be continued",
                where=self.where,
                fix="let the last message be the assistant's, or do not continue it",
            )
        before = rendered[:place]
        # a template that strips texts has stripped the mark's space, and would that before it
        return before if rendered.startswith(MARK, place) else before.rstrip()

    def _without_system(self, messages: Sequence[Message], thinking: bool | None) -> str | None:
        """A fix, where the system turn is what the template does not take."""
        if len(messages) < 2 or messages[0].get("role") != "system":
            return None
        try:
            self.render(messages[1:], thinking=thinking)
        except PromptError:
            return None
        return "leave out the system prompt: --system, or the turn with the role 'system'"


def find_chat_template(files: TextFiles) -> str | None:
    """Source of the template that a chat without tools is rendered with, or None.

    It is the one named `default`. Where there are template files, those in the tokenizer's settings
    do not count, as in transformers.

    Raises:
        CheckpointError: a template is not text.
    """
    return _templates(files).get(DEFAULT)


def template_warnings(files: TextFiles) -> Iterator[str]:
    """Warnings about templates that differ, or that are not used.

    Raises:
        CheckpointError: a template is not text.
    """
    used, settings = _templates(files), _in_settings(files)
    if files.templates and files.template is None:
        for name in sorted(settings):
            if used.get(name) != settings[name]:
                kept = files.templates.get(name) or ", ".join(sorted(files.templates.values()))
                yield (
                    f"{TOKENIZER_CONFIG_FILE} has another chat template {name!r} than {kept}: the "
                    "file's is used, as in transformers; remove the one that is not wanted"
                )
    if files.has(PROCESSOR_TEMPLATE_FILE):
        other = read_json(files.where(PROCESSOR_TEMPLATE_FILE)).get(KEY)
        if other is not None and other != used.get(DEFAULT):
            yield (
                f"the chat template in {PROCESSOR_TEMPLATE_FILE} is not used, as in transformers' "
                f"tokenizers; save it as {TEMPLATE_FILE} if the model is to be prompted with it"
            )
    if not used:
        yield "the checkpoint has no chat template, so qdeploy run will refuse prompts"
    elif DEFAULT not in used:
        yield f"{no_default(used)}, so qdeploy run will refuse prompts; {SAVE}"


def require_chat_template(files: TextFiles) -> str:
    """Like `find_chat_template`, for a model that must have one.

    Raises:
        CheckpointError: it has none, or a template is not text.
    """
    templates = _templates(files)
    if DEFAULT in templates:
        return templates[DEFAULT]
    raise CheckpointError(
        no_default(templates) if templates else "no chat template",
        where=files.folder,
        fix=SAVE if templates else f"add {TEMPLATE_FILE} to the checkpoint, and export it again",
    )


def no_default(templates: Iterable[str]) -> str:
    """What is wrong where none of *templates* is the default one."""
    names = ", ".join(map(repr, sorted(templates)))
    return f"of its chat templates {names}, none is called {DEFAULT!r}"


def _templates(files: TextFiles) -> dict[str, str]:
    """Source of every template in use, by name."""
    if files.template is not None:
        return {DEFAULT: files.template}
    if files.templates:
        return {name: files.text(file) for name, file in files.templates.items()}
    return _in_settings(files)


def _in_settings(files: TextFiles) -> dict[str, str]:
    """Templates in the tokenizer's settings: one as text, or several by name."""
    found = files.json(TOKENIZER_CONFIG_FILE).get(KEY)
    if found is None:
        return {}
    if isinstance(found, str):
        return {DEFAULT: found}
    try:
        listed = isinstance(found, list)
        named = {e["name"]: e["template"] for e in found} if listed else dict(found)
        if all(isinstance(part, str) for pair in named.items() for part in pair):
            return named
    except (KeyError, TypeError, ValueError):
        pass
    raise CheckpointError(
        f"{KEY!r} is neither text nor a list of named templates",
        where=files.where(TOKENIZER_CONFIG_FILE),
        fix=f"add {TEMPLATE_FILE}, which comes before it",
    )
