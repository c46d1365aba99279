"""A tokenizer of `vocab.json` and `merges.txt`: what is refused, and that the advice helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.errors import CheckpointError
from qdeploy.tokenization.slow_tokenizer import check_tokenizer_is_there
from qdeploy.tokenization.text_files import find_text_files
from qdeploy.tokenization.tokenizer_file import read_tokenizer
from tests.support.tokenizer_variants import SETTINGS, TOKENIZER, copy_text, slow, update


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    slow(copy_text(tmp_path))
    return tmp_path


def test_another_class_is_refused_and_the_fix_works(folder: Path) -> None:
    update(folder, SETTINGS, tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(CheckpointError, match="class is PreTrainedTokenizerFast") as caught:
        read_tokenizer(find_text_files(folder))
    assert 'set "tokenizer_class": "Qwen2Tokenizer"' in str(caught.value.fix)
    update(folder, SETTINGS, tokenizer_class="Qwen2Tokenizer")
    read_tokenizer(find_text_files(folder))


@pytest.mark.parametrize("line", ["a", "a b c", ""])
def test_a_line_that_is_no_pair_is_named(line: str, folder: Path) -> None:
    (folder / "merges.txt").write_text(f"#version: 0.2\n\u0120 a\n{line}\nb c\n", "utf-8")
    with pytest.raises(CheckpointError, match=f"the merge '{line}', number 1, is") as caught:
        read_tokenizer(find_text_files(folder))
    assert caught.value.where == str(folder / "merges.txt")


def test_a_vocabulary_that_is_none_is_refused(folder: Path) -> None:
    (folder / "vocab.json").write_text("[]", "utf-8")
    with pytest.raises(CheckpointError, match=r"vocab\.json: not a JSON object"):
        read_tokenizer(find_text_files(folder))


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_half_of_a_tokenizer_is_none(missing: str, folder: Path) -> None:
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=f"{TOKENIZER} is missing") as caught:
        check_tokenizer_is_there(find_text_files(folder))
    assert "original model" in str(caught.value.fix)


def test_a_sentencepiece_model_is_refused_with_what_converts_it(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model is not read") as caught:
        check_tokenizer_is_there(find_text_files(tmp_path))
    assert "save_pretrained" in str(caught.value.fix)
