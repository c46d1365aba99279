"""The general calibration corpus: its shape, its mix, and that `qdeploy eval` measures none of it.

A model calibrated on text that is also measured would look better than it is, so the corpus may
share no line and no run of words with what is measured.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qdeploy import models
from qdeploy.evaluate.text import SHIPPED
from qdeploy.tokenization.tokenizer import Tokenizer

PACKAGE = Path(__file__).parents[4] / "qdeploy"
CORPUS = PACKAGE / "calibration" / "texts" / "general.jsonl"
MEASURED = (
    *(PACKAGE / "evaluate" / "texts" / file for file in sorted(SHIPPED.values())),
    PACKAGE / "models" / "heldout.jsonl",
)

KINDS = {"prose", "code", "mathematics", "json", "chat"}
ROLES = {"system", "user", "assistant"}
LINE = 24
"""Characters from which on a line in common is no coincidence."""
RUN = 8
"""Words in a row from which on a run in common is no coincidence."""
WINDOW = 256
"""Tokens of one calibration window."""

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A word; in Chinese and Japanese, which put no spaces between words, a character."""


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def strings(value: object) -> Iterator[str]:
    """Every text in a JSON value, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def texts(path: Path) -> list[str]:
    if path.suffix == ".jsonl":
        return list(strings(records(path)))
    return [path.read_text(encoding="utf-8")]


def lines(found: list[str]) -> set[str]:
    stripped = (line.strip() for text in found for line in text.splitlines())
    return {line for line in stripped if len(line) >= LINE}


def runs(found: list[str]) -> set[tuple[str, ...]]:
    split = (WORD.findall(text.casefold()) for text in found)
    return {
        tuple(words[start : start + RUN])
        for words in split
        for start in range(len(words) - RUN + 1)
    }


RECORDS = records(CORPUS)


def test_each_record_is_a_text_or_a_conversation() -> None:
    for record in RECORDS:
        assert record["kind"] in KINDS
        body = "messages" if record["kind"] == "chat" else "text"
        assert record.keys() == {"kind", body}
        assert all(text.strip() for text in strings(record[body]))


def test_conversations_alternate_and_end_with_an_answer() -> None:
    for record in RECORDS:
        if "messages" not in record:
            continue
        assert all(message.keys() == {"role", "content"} for message in record["messages"])
        roles = [message["role"] for message in record["messages"]]
        assert set(roles) <= ROLES
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)


def test_any_quarter_of_the_corpus_is_a_mix_of_all_kinds() -> None:
    assert Counter(record["kind"] for record in RECORDS) == {
        "prose": 24,
        "chat": 16,
        "code": 12,
        "mathematics": 8,
        "json": 4,
    }
    quarter = len(RECORDS) // 4
    for start in range(0, len(RECORDS), quarter):
        assert {record["kind"] for record in RECORDS[start : start + quarter]} == KINDS


def test_no_record_contains_control_tokens_of_a_chat_template() -> None:
    assert not any("<|" in text for text in strings(RECORDS))


def test_each_record_fills_a_window_of_the_embedded_models() -> None:
    tokenizer = Tokenizer(models.path("qwen3-nano"))
    for record in RECORDS:
        body = record["text"] if "text" in record else record["messages"]
        assert len(tokenizer.encode("\n".join(strings(body)))) >= WINDOW


def test_no_record_is_in_the_corpus_twice() -> None:
    found = [json.dumps(record, sort_keys=True) for record in RECORDS]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.name)
def test_corpus_shares_neither_lines_nor_runs_of_words_with_what_is_measured(path: Path) -> None:
    measured, corpus = texts(path), list(strings(RECORDS))
    assert not lines(measured) & lines(corpus)
    assert not runs(measured) & runs(corpus)
