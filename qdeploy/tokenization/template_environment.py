"""The environment that chat templates are written for: transformers', in a sandbox.

Templates are code that comes with models. What they find here are the filter, the functions and the
tags of transformers' `chat_template_utils.py` (5.5).
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class ChatRefused(TemplateError):
    """A template's own `raise_exception`: it does not take the chat that it was given."""


class GenerationBlocks(Extension):
    """`{% generation %}`, which marks what a model is trained on; its text is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return Scope(body, lineno=line)


@lru_cache(maxsize=8)
def compile_template(source: str) -> Template:
    """Compile a template, which takes 30 ms for Qwen3's; a malformed one may raise anything."""
    return environment().from_string(source)


def environment() -> ImmutableSandboxedEnvironment:
    """A new environment."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[GenerationBlocks, loopcontrols],
        autoescape=False,
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _raise(message: str) -> NoReturn:
    raise ChatRefused(message)
