"""The model at one position after the other is the model at all positions at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.calibration.texts import cache as module
from qdeploy.calibration.texts.cache import Cache, CacheShape
from qdeploy.calibration.texts.held_weights import HeldWeights
from qdeploy.calibration.texts.one_position import one_position
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, open_weights
from qdeploy.forward.forward import Forward
from tests.support import tiny
from tests.support.evaluating import no_progress
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE

LENGTH, BATCH = 20, 5
IDS = np.random.default_rng(0).integers(0, 2000, (BATCH, LENGTH)).tolist()
CLOSE = 3e-5
ROUNDED = 0.1
"""Of hidden states near 1, where keys and values have 8 bits."""
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
VARIANTS: dict[str, dict[str, Any]] = {
    "dense": DENSE,
    "yarn": DENSE | {"rope_scaling": YARN},
    "one key a query": DENSE | {"num_key_value_heads": 4},
    "experts": SPARSE,
    "routing weights as they are": SPARSE | {"norm_topk_prob": False},
    "every second layer": SPARSE | {"decoder_sparse_step": 2},
    "qwen2": QWEN2,
    "llama": LLAMA,
}


def states(folder: Path, cache_file: Path) -> tuple[Any, Any]:
    """Hidden states, [sequences, tokens, H]: a position at a time, and all at once."""
    found = read_checkpoint(folder)
    graph = found.decoder.graph(found.config.rope_scaling)
    with open_weights(found) as source:
        cache = Cache(cache_file, CacheShape.of(graph, BATCH, LENGTH))
        columns = [[one[at] for one in IDS] for at in range(LENGTH)]
        each = [
            one_position(source, found.architecture, graph, tokens, cache, position)
            for position, tokens in enumerate(columns)
        ]
        model = Forward(source, found.architecture, graph)
        return np.stack(each, axis=1), np.stack(model.hidden(IDS, no_progress))


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_all_positions_agree(config: dict[str, Any], tmp_path: Path) -> None:
    found, wanted = states(tiny.write(tmp_path / "it", config), tmp_path / "cache")
    assert np.abs(found - wanted).max() < CLOSE


def test_a_cache_of_half_the_size_is_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.write(tmp_path / "it", DENSE)
    states(folder, tmp_path / "exact")
    monkeypatch.setattr(module, "EXACT_BYTES", 0)
    found, wanted = states(folder, tmp_path / "half")
    assert 0 < np.abs(found - wanted).max() < ROUNDED
    assert 2 * (tmp_path / "half").stat().st_size == (tmp_path / "exact").stat().st_size


def test_pieces_of_a_batch_are_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_ELEMENTS", 2 * LENGTH * 2 * 32)  # two sequences at a time
    found, wanted = states(tiny.write(tmp_path / "it", DENSE), tmp_path / "cache")
    assert np.abs(found - wanted).max() < CLOSE


def test_held_weights_are_the_weights_and_read_once(tmp_path: Path) -> None:
    read: list[str] = []

    class Watched(WeightReader):
        def rows(self, name: str, *rows: Any, **options: Any) -> Any:
            read.append(name)
            return super().rows(name, *rows, **options)

    with open_weights(read_checkpoint(tiny.write(tmp_path / "it", SPARSE))) as source:
        wanted = {name: source.rows(name) for name in source.names}
        source.__class__ = Watched
        held = HeldWeights(source)
        assert held.names == source.names
        for name in held.names:
            assert held.shape(name) == wanted[name].shape
            assert np.array_equal(held.rows(name, 1, 3), wanted[name][1:3])
            blocks = [rows for _, rows in held.blocks(name, max_bytes=1000)]
            assert np.array_equal(np.concatenate(blocks), wanted[name])
            out = np.empty_like(wanted[name])
            assert np.array_equal(held.rows(name, out=out), wanted[name])
            out[:] = 0
            assert np.array_equal(held.rows(name), wanted[name])
    assert read == list(source.names)
