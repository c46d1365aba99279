"""Reading a `tokenizer.json`, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy import models
from qdeploy.errors import CheckpointError, ExportFailed
from qdeploy.exporters.native.tokenizer.bpe import ByteLevelBPE, read_bpe, why_not
from qdeploy.storage.json_file import read_json

SPLIT = {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}

TEXT = {"Sequence": {"id": "A", "type_id": 0}}
BEGIN = {"SpecialToken": {"id": "<s>", "type_id": 0}}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [BEGIN, TEXT],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [6, 0], "tokens": ["<é>", "a"]}},
}


def read(file: Path) -> ByteLevelBPE:
    return read_bpe(read_json(file), file)


def write(folder: Path, **changes: Any) -> Path:
    """A tokenizer.json of five tokens."""
    content: dict[str, Any] = {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]},
        "post_processor": None,
        "model": {
            "type": "BPE",
            "vocab": {"a": 0, "Ġ": 1, "Ġa": 2, "Ċ": 3, "½": 4},
            "merges": [["Ġ", "a"]],
        },
        "added_tokens": [
            {"id": 6, "content": "<é>", "special": True, "lstrip": False, "rstrip": False}
        ],
    }
    model = changes.pop("model", {})
    content |= changes
    content["model"] |= model
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(content), "utf-8")
    return file


def test_spelling_becomes_bytes_and_added_tokens_are_text(tmp_path: Path) -> None:
    found = read(write(tmp_path))
    assert found.tokens == [b"a", b" ", b" a", b"\n", b"\xbd", b"", "<é>".encode()]
    assert found.merges == [(b" ", b"a")]
    assert found.normalizer == "NFC"
    assert [s.pattern for s in found.splits] == [r"\s+"]


def test_every_byte_of_a_real_vocabulary_is_spelt() -> None:
    found = read(models.path("qwen3-nano") / "tokenizer.json")
    assert {bytes([n]) for n in range(256)} <= set(found.tokens)


def test_merges_may_be_pairs_in_one_string(tmp_path: Path) -> None:
    found = read(write(tmp_path, model={"merges": ["Ġ a"]}))
    assert found.merges == [(b" ", b"a")]


def test_a_pattern_may_be_plain_text(tmp_path: Path) -> None:
    split = SPLIT | {"pattern": {"String": "a.b"}}
    steps = {"type": "Sequence", "pretokenizers": [split, BYTES]}
    found = read(write(tmp_path, pre_tokenizer=steps))
    assert found.splits[0].pattern == r"a\.b"


@pytest.mark.parametrize(
    ("single", "prefix", "suffix"),
    [
        ([BEGIN, TEXT], [6, 0], []),
        ([TEXT, BEGIN], [], [6, 0]),
        ([BEGIN, TEXT, BEGIN, BEGIN], [6, 0], [6, 0, 6, 0]),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_template_puts_ids_around_a_text(
    single: list[Any], prefix: list[int], suffix: list[int], alone: bool, tmp_path: Path
) -> None:
    template: dict[str, Any] = TEMPLATE | {"single": single}
    steps = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]}
    found = read(write(tmp_path, post_processor=template if alone else steps))
    assert (found.prefix, found.suffix) == (prefix, suffix)


@pytest.mark.parametrize("value", [True, False])
def test_merges_may_be_ignored_for_whole_words(value: bool, tmp_path: Path) -> None:
    assert read(write(tmp_path, model={"ignore_merges": value})).ignore_merges == value


def test_normalizer_and_splits_may_be_missing(tmp_path: Path) -> None:
    found = read(write(tmp_path, normalizer=None, pre_tokenizer=BYTES))
    assert found.normalizer is None
    assert found.splits == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": {"type": "Unigram"}}, "'Unigram'"),
        ({"model": {"byte_fallback": True}}, "byte_fallback"),
        ({"model": {"unk_token": "?"}}, "unk_token"),
        ({"model": {"merges": []}}, "no merges"),
        ({"normalizer": {"type": "Lowercase"}}, "'Lowercase'"),
        ({"pre_tokenizer": None}, "ByteLevel"),
        ({"pre_tokenizer": BYTES | {"use_regex": True}}, "ByteLevel"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, BYTES]}},
            "'Digits'",
        ),
        ({"post_processor": {"type": "BertProcessing"}}, "'BertProcessing'"),
        ({"post_processor": TEMPLATE | {"single": [BEGIN]}}, "the text exactly once"),
        ({"post_processor": TEMPLATE | {"single": [TEXT, BEGIN, TEXT]}}, "the text exactly once"),
        ({"added_tokens": [{"content": "x", "single_word": True}]}, "'x'"),
        ({"added_tokens": [{"content": "Ġa"}]}, "the word 'Ġa'"),
    ],
)
def test_an_unknown_part_is_named(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    file = write(tmp_path, **changes)
    assert named.strip("'") in str(why_not(read_json(file)))
    with pytest.raises(ExportFailed, match=named) as caught:
        read(file)
    assert caught.value.where == str(file)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"merges": ["qqqq zzzz"]}},
        {"model": {"merges": ["a"]}},
        {"model": {"merges": [5]}},
        {"model": {"vocab": {"a": "0"}}},
        {"model": {"vocab": {"a": 4_000_000_000}}},
        {"model": {"vocab": {"a": -5}}},
        {"model": {"vocab": {"汉": 0}}},
        {"model": {"vocab": []}},
        {"added_tokens": ["x"]},
        {"added_tokens": [{"id": 6}]},
        {"normalizer": "NFC"},
        {"pre_tokenizer": {"type": "Sequence"}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split"}, BYTES]}},
    ],
    ids=str,
)
def test_a_part_that_does_not_hold_is_an_error_of_the_file(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    file = write(tmp_path, **changes)
    with pytest.raises(CheckpointError, match="not a tokenizer") as caught:
        read(file)
    assert caught.value.where == str(file)
    assert caught.value.fix


def test_no_model_at_all_is_an_error_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text('{"model": null}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        read(file)
