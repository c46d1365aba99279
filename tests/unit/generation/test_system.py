"""A system prompt comes before all turns, and is never left out in silence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qdeploy.errors import InputError, PromptError
from qdeploy.generation.system import with_system
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.answers import NANO, QUESTION


def with_template(folder: Path, source: str) -> Tokenizer:
    shutil.copytree(NANO.folder, folder, dirs_exist_ok=True)
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    return Tokenizer(folder)


@pytest.mark.parametrize("system", ["Be brief.", ""])
def test_it_is_the_first_turn(system: str) -> None:
    chat = with_system(NANO, system, QUESTION)
    assert chat == [{"role": "system", "content": system}, *QUESTION]
    assert NANO.render(chat).startswith(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user")


def test_two_are_refused() -> None:
    chat = [{"role": "system", "content": "Be long."}, *QUESTION]
    with pytest.raises(InputError, match="there are two system prompts"):
        with_system(NANO, "Be brief.", chat)


def test_a_template_that_leaves_it_out_is_refused(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, "{{ messages[-1].content }}")
    with pytest.raises(PromptError, match="leaves out the system prompt") as caught:
        with_system(tokenizer, "Be brief.", QUESTION)
    assert caught.value.fix == "put its text into the first prompt"


def test_a_template_that_refuses_it_says_so(tmp_path: Path) -> None:
    """As Gemma's."""
    source = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    with pytest.raises(PromptError, match="no system"):
        with_system(with_template(tmp_path, source), "Be brief.", QUESTION)


def test_the_prompt_that_a_template_writes_by_itself_may_be_given(tmp_path: Path) -> None:
    """As that of Qwen2.5, which is rendered the same with and without it."""
    source = (
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}Help.{% endif %}"
        "{{ messages[-1].content }}"
    )
    assert len(with_system(with_template(tmp_path, source), "Help.", QUESTION)) == 2
