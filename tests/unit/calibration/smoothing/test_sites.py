"""Sites: channels that weights make can be scaled, and the model stays the same, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.calibration.smoothing.factors import SmoothedReader
from qdeploy.calibration.smoothing.sites import Site, find_sites
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from tests.support import rounding_forward, tiny
from tests.support.calibrating import draw_ids
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE

IDS = draw_ids(3, 24)
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3": DENSE,
    "qwen2, with biases": QWEN2,
    "llama": LLAMA,
    "experts": SPARSE,
    "every second layer": SPARSE | {"decoder_sparse_step": 2},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_scaled_model_is_the_same(config: dict[str, Any], tmp_path: Path) -> None:
    """Powers of two change exponents alone, so every hidden state is equal."""
    folder = tiny.write(tmp_path / "model", config)
    checkpoint = read_checkpoint(folder)
    sites = find_sites(checkpoint.architecture, checkpoint.graph(None))
    source, random = open_weights(checkpoint), np.random.default_rng(0)
    drawn = {
        site.name: random.integers(-6, 7, source.shape(site.name)[1] // site.shared).astype(np.int8)
        for site in sites
    }
    smoothed = SmoothedReader(source, sites, lambda site: drawn[site.name])
    plain = rounding_forward.hidden(folder, source, IDS)
    assert np.array_equal(rounding_forward.hidden(folder, smoothed, IDS), plain)
    changed = [n for n in source.names if not np.array_equal(source.rows(n), smoothed.rows(n))]
    assert {name for site in sites for name in site.readers} <= set(changed)
    for name in changed:
        assert np.array_equal(smoothed.rows(name, 1, 3), smoothed.rows(name)[1:3])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_every_linear_weight_reads_one_site(config: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = read_checkpoint(tiny.write(tmp_path / "model", config))
    sites = find_sites(checkpoint.architecture, checkpoint.graph(None))
    readers = [name for site in sites for name in site.readers]
    linear = {n for n, described in checkpoint.described.items() if described.role == "linear"}
    assert len(readers) == len(set(readers))
    assert set(readers) == linear
    assert all(site.makers for site in sites)


def test_nothing_is_scaled_before_it_is_chosen(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(tiny.write(tmp_path / "model", DENSE))
    sites = find_sites(checkpoint.architecture, checkpoint.graph(None))
    source = open_weights(checkpoint)
    reader = SmoothedReader(source, sites, lambda site: None)
    assert all(np.array_equal(reader.rows(n), source.rows(n)) for n in source.names)


def test_heads_that_share_values() -> None:
    """Two heads of values with three channels each, each shared by two heads of queries."""
    site = Site(("o",), None, ("v",), shared=2, run=3)
    rows = np.arange(6, dtype=np.int8)
    channels = site.to_channels(rows)
    assert channels.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]
    values = np.array([9, 0, 0, 1, 7, 0, 0, 0, 8, 2, 0, 0], np.float32)
    assert site.largest(values).tolist() == [9, 7, 0, 2, 0, 8]
