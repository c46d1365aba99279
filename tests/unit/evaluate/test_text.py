"""Texts: shipped ones, files, passages."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy import models
from qdeploy.errors import InputError
from qdeploy.evaluate.text import (
    ALL,
    SHIPPED,
    TASKS,
    WINDOW,
    WINDOWS,
    expand_texts,
    read_bytes,
    read_passages,
    spread_evenly,
)
from qdeploy.tokenization.tokenizer import Tokenizer
from tools.nano import chats

NANO = Tokenizer(models.path("qwen3-nano"))


def test_prose_consists_of_whole_windows_in_both_languages() -> None:
    found = read_passages("prose", NANO)
    assert {len(p.ids) for p in found.passages} == {WINDOW}
    assert len(found.passages) == WINDOWS
    assert NANO.decode(found.passages[0].ids).startswith("The ferry to the outer islands")
    assert "怀表" in NANO.decode(found.passages[-1].ids)
    assert found.as_dict()["tokens"] == WINDOWS * (WINDOW - 1)


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in ("prose", TASKS)])
def test_each_kind_of_text_has_as_many_passages_as_prose(name: str) -> None:
    found = read_passages(name, NANO)
    assert found.name == name
    assert [p.scored for p in found.passages] == [WINDOW - 1] * WINDOWS
    assert 6_000 <= len(read_bytes(name)) <= 12_000
    text = read_bytes(name).decode()
    assert NANO.decode(NANO.encode(text)) == text


def test_the_text_of_json_is_json() -> None:
    text, at, values = read_bytes("json").decode(), 0, 0
    while at < len(text):
        _, end = json.JSONDecoder().raw_decode(text, at)
        at, values = end + len(text[end:]) - len(text[end:].lstrip()), values + 1
    assert values > 10


def test_no_two_shipped_texts_share_a_long_line() -> None:
    """A line in two texts would count twice as evidence."""
    lines = [line for name in SHIPPED for line in set(read_bytes(name).decode().splitlines())]
    long = [line for line in lines if len(line) > 40]
    assert len(long) == len(set(long))


def test_all_stands_for_every_shipped_text() -> None:
    assert expand_texts([ALL], chats=True) == tuple(SHIPPED)
    assert expand_texts(["mine.txt", ALL, "code"], chats=False) == (
        "mine.txt", *(name for name in SHIPPED if name != TASKS),
    )  # fmt: skip
    assert expand_texts([TASKS, TASKS], chats=False) == (TASKS,)


def test_only_the_replies_of_chats_are_scored() -> None:
    found = read_passages("tasks", NANO)
    assert found.chat
    assert len(found.passages) == 49
    for passage in found.passages:
        asked, said = passage.ids[: passage.first], passage.ids[passage.first :]
        assert NANO.decode(asked).endswith("assistant\n")
        assert NANO.id_of("<think>") == said[0]
        assert NANO.id_of("<|im_end|>") == said[-1]


def test_the_chats_are_what_their_tool_writes() -> None:
    assert chats.FILE.read_text(encoding="utf-8").splitlines() == chats.lines()


def test_the_chats_are_of_held_out_questions() -> None:
    questions = {q.question for q in models.heldout()}
    assert {json.loads(line)["question"] for line in chats.lines()} <= questions


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("汉字 and words. " * 50, encoding="utf-8")
    found = read_passages(str(file), NANO, window=16, windows=3)
    assert found.name == "mine.txt"
    assert [len(p.ids) for p in found.passages] == [16, 16, 16]
    assert NANO.encode(file.read_text("utf-8"))[:16] == list(found.passages[0].ids)


def test_a_text_shorter_than_a_window_is_one_passage(tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("Two words", encoding="utf-8")
    [passage] = read_passages(str(file), NANO).passages
    assert passage.scored == len(NANO.encode("Two words")) - 1
    assert 1 <= passage.prompt < len(passage.ids)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "a text of 0 tokens"), (b"a", "a text of 1 tokens"), (b"\xff\xfe", "not UTF-8")],
)
def test_an_unusable_file(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_passages(str(tmp_path / "it"), NANO)


def test_no_such_file() -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_passages("prosa", NANO)
    assert "prose, tasks" in str(caught.value)


@given(size=st.integers(1, 60), count=st.integers(1, 70))
def test_spread_evenly_keeps_the_order(size: int, count: int) -> None:
    found = spread_evenly(range(size), count)
    assert len(found) == min(size, count)
    assert found[0] == 0
    if count > 1:
        assert found[-1] == size - 1
    gaps = [b - a for a, b in pairwise(found)]
    assert all(gap >= 1 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1
