"""Tools: what a model is offered, the syntax of its calls, and calls that it must make."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from qdeploy.errors import InputError, did_you_mean
from qdeploy.generation.reading.calls import CALL, Body
from qdeploy.generation.reading.json_call import JsonBody
from qdeploy.generation.reading.xml_call import XmlBody
from qdeploy.generation.settings import Tool, ToolChoice

ARGUMENTS = re.compile(r'\\?"arguments\\?"\s*:')
NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}
DEFINITIONS = ("$defs", "definitions")
FORM = '{"type": "function", "function": {"name": ..., "parameters": {...}}}'


@dataclass(frozen=True)
class Forced:
    """How an answer has to go on once the thinking is over.

    Attributes:
        call: the beginning of a tool call, after its tag; None if it need not be a call.
        json_schema: what the tokens after that have to keep to, if anything.
        once: whether the answer ends with that call.
    """

    call: str | None = None
    json_schema: str | None = None
    once: bool = True


@dataclass(frozen=True)
class Offer:
    """The tools that a model is offered.

    Attributes:
        tools: as given; none if it must not call any.
        body: makes the reader of a call.
        forced: the call that it must make; None if it decides.
    """

    tools: tuple[Tool, ...] = ()
    body: Callable[[], Body] | None = None
    forced: Forced | None = None


def offer(
    tools: Sequence[Tool], choice: ToolChoice, template: str, *, follows_schemas: bool
) -> Offer:
    """Check tools and choice, and return what the model is offered.

    Args:
        tools: as in OpenAI's API.
        choice: whether one may or must be called.
        template: source of the chat template, whose syntax the model writes calls in.
        follows_schemas: whether the session can keep an answer to a JSON schema.

    Raises:
        InputError: a tool or the choice is malformed, names no tool, or the template takes none.
    """
    schemas = _schemas(tools)
    wanted = _wanted(choice, schemas)
    if not tools or wanted is None:
        return Offer()
    if "<function=" in template and CALL in template:
        body: Callable[[], Body] = partial(XmlBody, schemas)
        begin: Callable[[Mapping[str, Any], bool], Forced] = _forced_xml
    elif ARGUMENTS.search(template) and CALL in template:
        body, begin = JsonBody, _forced_json
    else:
        raise InputError(
            "this model's chat template takes no tools, or has a syntax for calls that is unknown: "
            f"{CALL} with JSON and with <function=...> are known",
            fix="leave out the tools, or take a model that is trained to call them",
        )
    forced = begin({name: schemas[name] for name in wanted}, follows_schemas) if wanted else None
    return Offer(tuple(tools), body, forced)


def _schemas(tools: Sequence[Tool]) -> dict[str, Mapping[str, Any]]:
    """Return the schema of each function's arguments, by its name."""
    schemas: dict[str, Mapping[str, Any]] = {}
    for i, tool in enumerate(tools):
        where, is_object = f"tools[{i}]", isinstance(tool, Mapping)
        if not is_object or tool.get("type", "function") != "function":
            kind = f"has the type {tool.get('type')!r}" if is_object else "is not an object"
            raise InputError(f"the tool {kind}", where=where, fix=f"give {FORM}")
        function = tool.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not name.strip():
            raise InputError("the tool names no function", where=where, fix=f"give {FORM}")
        parameters = function.get("parameters") or NO_ARGUMENTS
        if not isinstance(parameters, Mapping):
            raise InputError(
                "the function's parameters are not an object", where=where, fix="give a JSON Schema"
            )
        if name in schemas:
            raise InputError(
                f"there are two functions {name!r}", where=where, fix="give each its own name"
            )
        schemas[name] = parameters
    return schemas


def _wanted(choice: ToolChoice, known: Mapping[str, Any]) -> Sequence[str] | None:
    """Return functions of which one must be called; none if the model decides.

    None says that it must not call any.
    """
    if isinstance(choice, Mapping):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if choice.get("type", "function") != "function" or not isinstance(name, str):
            raise InputError(
                f"the tool choice {json.dumps(choice, default=str)} names no function",
                where="tool_choice",
                fix='give "auto", "none", "required" or '
                '{"type": "function", "function": {"name": ...}}',
            )
        if name not in known:
            raise InputError(
                f"the tool choice is {name!r}, which is none of the tools",
                where="tool_choice",
                fix=did_you_mean(name, known),
            )
        return [name]
    if choice not in ("auto", "none", "required"):
        raise InputError(
            f"the tool choice is {choice!r}",
            where="tool_choice",
            fix='give "auto", "none", "required" or a function',
        )
    if choice == "required" and not known:
        raise InputError(
            "a tool call is required, and there are no tools",
            where="tool_choice",
            fix="give tools",
        )
    return None if choice == "none" else list(known) if choice == "required" else []


def _forced_json(schemas: Mapping[str, Any], follows_schemas: bool) -> Forced:
    """Begin a call of one of these functions as the templates write it.

    No space ends the beginning: the token that goes on has one.
    """
    if len(schemas) == 1:
        [(name, schema)] = schemas.items()
        begun = f'\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments":'
        return Forced(begun, json.dumps(schema) if follows_schemas else None)
    any_of = _any_call(schemas) if follows_schemas else None
    if any_of is None:
        return Forced('\n{"name":', once=False)
    return Forced("\n", json.dumps(any_of))


def _forced_xml(schemas: Mapping[str, Any], _: bool) -> Forced:
    """Begin a call. Its syntax is not JSON, so no schema describes it."""
    if len(schemas) == 1:
        return Forced(f"\n<function={next(iter(schemas))}>\n")
    return Forced("\n<function=", once=False)


def _any_call(schemas: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a call of any function; None where names of definitions clash.

    References in a schema begin at the root, so definitions move there.
    """
    shared: dict[str, dict[str, Any]] = {}
    calls = []
    for name, schema in schemas.items():
        for key in DEFINITIONS:
            held = schema.get(key)
            for definition, content in held.items() if isinstance(held, Mapping) else ():
                if shared.setdefault(key, {}).setdefault(definition, content) != content:
                    return None
        own = {key: value for key, value in schema.items() if key not in DEFINITIONS}
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": own},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls, **shared}
