"""The general texts as sequences; here a few that stand for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdeploy import models
from qdeploy.calibration.texts import general_texts as module
from qdeploy.calibration.texts.general_texts import general_texts
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support import tokenizer_variants
from tests.support.tokenizer_variants import settings

NANO = Tokenizer(models.path("qwen3-nano"))
SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [{"role": "user", "content": "What is red?"}, {"role": "assistant", "content": "A color."}]


@pytest.fixture(autouse=True)
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write sixteen records in place of the project's."""
    words = "Numbers and words follow each other on a long way. " * 20
    lines = [
        {"kind": "chat", "messages": [SYSTEM, *TURNS, *TURNS]} if n % 4 == 0
        else {"kind": "prose", "text": f"<{n}> {words}"}
        for n in range(16)
    ]  # fmt: skip
    file = tmp_path / "general.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    monkeypatch.setattr(module, "FILE", file)


def test_every_record_gives_a_part() -> None:
    found = general_texts(NANO, tokens=1024)
    texts = [NANO.decode(ids) for ids in found.ids]
    assert all(any(text.startswith(f"<{n}>") for text in texts) for n in range(16) if n % 4)
    assert any("What is red?" in text for text in texts)
    assert 1024 - 8 < found.tokens <= 1024
    assert found.origins[0].name == "general"
    assert general_texts(NANO, tokens=1024) == found


def test_few_tokens_are_of_records_all_over_the_file() -> None:
    texts = [NANO.decode(ids) for ids in general_texts(NANO, tokens=256, seed=3).ids]
    numbers = [int(text[1:].partition(">")[0]) for text in texts if text.startswith("<")]
    assert len(numbers) > 3
    assert max(numbers) - min(numbers) > 6


def test_a_chat_is_plain_text_for_a_model_without_a_template(tmp_path: Path) -> None:
    settings("chat_template")(tokenizer_variants.copy_text(tmp_path / "base"))
    base = Tokenizer(tmp_path / "base")
    texts = [base.decode(ids) for ids in general_texts(base, tokens=1024).ids]
    assert "Be brief.\n\nWhat is red?\n\nA color.\n\nWhat is red?\n\nA color." in texts


def test_a_chat_is_plain_text_where_the_template_does_not_take_it(tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    settings(chat_template=refusing)(tokenizer_variants.copy_text(tmp_path / "strict"))
    strict = Tokenizer(tmp_path / "strict")
    texts = [strict.decode(ids) for ids in general_texts(strict, tokens=1024).ids]
    assert any(text.startswith("Be brief.\n\nWhat") for text in texts)
