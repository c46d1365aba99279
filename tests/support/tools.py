"""Tools that a model is offered, and answers that call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.answers import NANO


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """Return a tool whose function takes these parameters, all required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


ADD = tool("add", a={"type": "integer"}, b={"type": "integer"})
SAY = tool("say", text={"type": "string"})
TOOLS = (ADD, SAY)
SUM = {"a": 1, "b": 2}


def call(name: str = "add", **arguments: Any) -> str:
    """Return a call as Qwen3 writes it."""
    body = json.dumps({"name": name, "arguments": arguments or SUM}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def xml_call(name: str = "add", **arguments: str) -> str:
    """Return a call as Qwen3-Coder writes it."""
    values = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in arguments.items())
    return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"


XML_TEMPLATE = """\
{%- for tool in tools or [] %}{{ tool | tojson }}{% endfor %}
{%- for message in messages %}{{ message.content }}{% endfor %}
{#- <tool_call> <function=name> <parameter=name> value </parameter> </function> </tool_call> #}"""


def coder(folder: Path) -> Tokenizer:
    """Return a tokenizer whose template asks for calls in tags."""
    shutil.copytree(NANO.folder, folder, dirs_exist_ok=True)
    (folder / "chat_template.jinja").write_text(XML_TEMPLATE, encoding="utf-8")
    return Tokenizer(folder)


def without_tags(folder: Path) -> Tokenizer:
    """Return a tokenizer that has no token for any tag, so that they are text."""
    shutil.copytree(NANO.folder, folder, dirs_exist_ok=True)
    tags = ("<think>", "</think>", "<tool_call>", "</tool_call>")
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in tags]
    file.write_text(json.dumps(content), encoding="utf-8")
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    added = content["added_tokens_decoder"]
    content["added_tokens_decoder"] = {n: t for n, t in added.items() if t["content"] not in tags}
    file.write_text(json.dumps(content), encoding="utf-8")
    return Tokenizer(folder)
