"""transformers as a peer: it takes all weights of a bundle, or is refused."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import qdeploy
from qdeploy import models
from qdeploy.backends.torch.peer import PEER
from qdeploy.errors import GenerationFailed

pytestmark = pytest.mark.skipif(
    not (find_spec("transformers") and find_spec("compressed_tensors")),
    reason="needs qdeploy[verify]",
)


def exported(model: str, folder: Path) -> Path:
    return qdeploy.export(
        models.path(model), target="cpu", profile="cpu-int4-torch", output=folder / "bundle"
    ).path


@pytest.mark.slow
def test_it_generates_as_many_tokens_as_asked(tmp_path: Path) -> None:
    run = PEER.load(exported("qwen3-nano", tmp_path), "cpu", 1)
    start, stamps = run([1, 2, 3], 4)
    assert [start, *stamps] == sorted([start, *stamps])
    assert len(stamps) == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_experts_in_codes_are_no_random_ones(tmp_path: Path) -> None:
    with pytest.raises(GenerationFailed, match="does not load these weights") as raised:
        PEER.load(exported("qwen3-nano-moe", tmp_path), "cpu", 1)
    assert "experts" in str(raised.value)
