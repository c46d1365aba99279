"""Prompts with tools, and messages that are continued, beside those of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy.tokenization.messages import for_template
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.answers import NANO
from tests.support.chat_templates import CHATML, CHATS, GEMMA, LLAMA_3_1, QWEN_2_5, Chat
from tests.support.tokenizer_variants import copy_text
from tests.support.tools import SUM, TOOLS

pytest.importorskip("torch", reason="needs qdeploy[verify]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[verify]")
CALLS: Chat = [
    {"role": "user", "content": "1 + 2?"},
    {
        "role": "assistant", "content": "Let me add.", "reasoning_content": "Easy.",
        "tool_calls": [{"id": "c", "type": "function",
                        "function": {"name": "add", "arguments": SUM}}],
    },
    {"role": "tool", "content": "3", "tool_call_id": "c"},
    {"role": "tool", "content": "three"},
]  # fmt: skip


@pytest.fixture(scope="module")
def theirs() -> Any:
    return transformers.AutoTokenizer.from_pretrained(NANO.folder, local_files_only=True)


@pytest.mark.parametrize("chat", [CALLS, CHATS["system"], CHATS["tool call"]], ids=str)
@pytest.mark.parametrize("template", [None, QWEN_2_5], ids=["Qwen3", "Qwen2.5"])
def test_tools_and_calls_are_rendered_as_by_transformers(
    chat: Chat, template: str | None, theirs: Any, tmp_path: Path
) -> None:
    ours = NANO
    if template is not None:
        (copy_text(tmp_path / "model") / "chat_template.jinja").write_text(template, "utf-8")
        ours = Tokenizer(tmp_path / "model")
    source = ours.chat_template.source
    options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}
    wanted = theirs.apply_chat_template(chat, list(TOOLS), chat_template=source, **options)
    assert ours.render(for_template(chat, source), tools=TOOLS) == wanted
    assert '"name": "add"' in wanted


@pytest.mark.parametrize("begun", ["The sum is", " The sum is ", "The\n\n"], ids=repr)
@pytest.mark.parametrize("template", [None, CHATML, LLAMA_3_1, GEMMA], ids=lambda t: str(t)[:20])
def test_a_message_is_continued_as_by_transformers(
    begun: str, template: str | None, theirs: Any, tmp_path: Path
) -> None:
    ours = NANO
    if template is not None:
        (copy_text(tmp_path / "model") / "chat_template.jinja").write_text(template, "utf-8")
        ours = Tokenizer(tmp_path / "model")
    chat = [*CHATS["one turn"], {"role": "assistant", "content": begun}]
    wanted = theirs.apply_chat_template(
        chat, chat_template=ours.chat_template.source, tokenize=False, continue_final_message=True
    )
    rendered = ours.render(chat, add_generation_prompt=False, continue_final_message=True)
    assert rendered == wanted
    assert wanted.strip().endswith(begun.strip())
