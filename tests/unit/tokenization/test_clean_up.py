"""Spaces before punctuation, removed from a text and from a stream of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qdeploy import models
from qdeploy.tokenization.clean_up import clean_up, split_settled
from qdeploy.tokenization.detokenizer import Detokenizer
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.tokenizer_variants import SETTINGS, update


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is n't it , then ?", "Isn't it, then?"),
        ("I 'm sure you 've 3 . 5 !", "I'm sure you've 3. 5!"),
        ("the dogs ' tails", "the dogs'tails"),
        ("a\n . b", "a\n. b"),
    ],
)
def test_a_text(text: str, expected: str) -> None:
    """As `clean_up_tokenization` of transformers 5.5.4."""
    assert clean_up(text) == expected


@given(st.lists(st.text(st.sampled_from("ab n't'mvsre.?!, \n"), min_size=1)))
@example(["a n", " ' t"])
@example(["ab ", " ", "' m", "s ' s"])
@example(["it", " '", " ve", " b"])
def test_a_text_in_pieces(pieces: Sequence[str]) -> None:
    found, held = "", ""
    for piece in pieces:
        settled, held = split_settled(held + piece)
        found += clean_up(settled)
    assert found + clean_up(held) == clean_up("".join(pieces))


def test_a_stream(tmp_path: Path) -> None:
    for name in ("config.json", SETTINGS, "tokenizer.json"):
        shutil.copyfile(models.path("qwen3-nano") / name, tmp_path / name)
    update(tmp_path, SETTINGS, clean_up_tokenization_spaces=True)
    tokenizer = Tokenizer(tmp_path)
    ids = tokenizer.encode("Is n't it 🚀 , then ? Yes !")
    detokenizer = Detokenizer(tokenizer)
    pieces = [*map(detokenizer.push, ids), detokenizer.flush()]
    assert "".join(pieces) == tokenizer.decode(ids) == "Isn't it 🚀, then? Yes!"
    assert len([piece for piece in pieces if piece]) > 2
