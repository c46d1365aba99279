"""Every `tokenizer.json` is either refused or readable by the tokenizers library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy import models
from qdeploy.errors import CheckpointError, ExportFailed
from qdeploy.exporters.native.tokenizer.bpe import read_bpe
from qdeploy.tokenization.text_files import find_text_files
from qdeploy.tokenization.tokenizer import Tokenizer
from qdeploy.tokenization.tokenizer_file import read_tokenizer
from qdeploy.tokenization.vocabulary import check_vocabulary

SPLIT = {
    "type": "Split",
    "pattern": {"Regex": r"\s+"},
    "behavior": "MergedWithNext",
    "invert": False,
}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False, "trim_offsets": True}
SMALL: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]},
    "post_processor": None,
    "decoder": BYTES,
    "model": {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
        "ignore_merges": False, "vocab": {"a": 0, "Ġ": 1, "Ġa": 2}, "merges": [["Ġ", "a"]],
    },
    "added_tokens": [
        {"id": 3, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True},
    ],
}  # fmt: skip


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value within *value*, its own included."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [before, *(p for key, each in inner for p in paths(each, (*before, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = dict(value) if isinstance(value, Mapping) else list(value)
    copied[path[0]] = replaced(copied[path[0]], path[1:], new)
    return copied


def write(folder: Path, content: Any) -> Path:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "Ġ", "Ġ a", "(", "BPE", "WordLevel", "Split", "NFC", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=3,
)


def test_a_small_one_passes(tmp_path: Path) -> None:
    check(write(tmp_path, SMALL), size=4)
    assert Tokenizer(tmp_path).encode("a a") == [0, 2]


def check(file: Path, size: int | None) -> None:
    check_vocabulary(read_tokenizer(find_text_files(file.parent)).content, file, size=size)


@given(st.sampled_from(paths(SMALL)), anything)
def test_what_passes_the_library_can_read(path: tuple[Any, ...], new: Any) -> None:
    with TemporaryDirectory() as folder:
        file = write(Path(folder), replaced(SMALL, path, new))
        try:
            check(file, size=100)
        except CheckpointError:
            return
        assert Tokenizer(Path(folder)).vocab_size <= 101


@given(st.sampled_from(paths(SMALL)), anything)
def test_the_exporter_itself_says_what_it_cannot_read(path: tuple[Any, ...], new: Any) -> None:
    with TemporaryDirectory() as folder, suppress(CheckpointError, ExportFailed):
        file = write(Path(folder), replaced(SMALL, path, new))
        read_bpe(read_tokenizer(find_text_files(file.parent)).content, file)


def test_the_embedded_tokenizer_passes_with_just_as_many_words_as_it_has() -> None:
    file = models.path("qwen3-nano") / "tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    size = len(content["model"]["vocab"])
    check(file, size=size)
    with pytest.raises(CheckpointError, match=f"has the id {size - 1}"):
        check(file, size=size - 1)


def test_tokenizers_of_other_kinds_are_read_by_the_library(tmp_path: Path) -> None:
    words = {"type": "WordLevel", "vocab": {"a": 0, "b": 7}, "unk_token": "a"}
    file = write(tmp_path, SMALL | {"model": words, "pre_tokenizer": None, "added_tokens": []})
    check(file, size=8)
    check(file, size=None)
    with pytest.raises(CheckpointError, match="'b' has the id 7"):
        check(file, size=7)
