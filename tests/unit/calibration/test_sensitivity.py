"""What weights would cost in each precision: against the formula, and against the model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qdeploy.calibration.sensitivity import Losses, evenly, sensitivities
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.errors import CheckpointError
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import Precision
from tests.support import tiny
from tests.support.evaluating import no_progress
from tests.support.tiny import DENSE, SPARSE

Floats = NDArray[np.float32]
INT4, INT8 = Precision(dtype="int4", group_size=32), Precision(dtype="int8")
COARSE = Precision(dtype="int4")
ALL = (COARSE, INT4, INT8)
SEQUENCES = [[5, 9, 200, 41, 8, 77], [7, 7, 250], [100, 6]]
TOKENS = sum(map(len, SEQUENCES))
QUERY = "model.layers.0.self_attn.q_proj.weight"
EXPERT = "model.layers.0.mlp.experts."


def measure(
    folder: Path,
    names: Sequence[str],
    energy: Callable[[str], float] = lambda _: 1.0,
    weights: Callable[[str], Floats | None] = lambda _: None,
    sequences: Sequence[Sequence[int]] = SEQUENCES,
) -> Losses:
    found = read_checkpoint(folder)
    with open_weights(found) as source:
        return sensitivities(
            source, found.architecture, found.decoder.graph(None), sequences,
            dict.fromkeys(names, ALL), energy=energy, weights=weights, progress=no_progress,
        )  # fmt: skip


def inputs_of_first_layer(config: Mapping[str, Any]) -> Floats:
    """What query, key and value of the first layer read, [T, H]."""
    tensors = tiny.draw(config)
    x = tensors["model.embed_tokens.weight"][[i for ids in SEQUENCES for i in ids]]
    x = x / np.sqrt(np.mean(x * x, axis=1, keepdims=True) + config["rms_norm_eps"])
    return np.asarray(x * tensors["model.layers.0.input_layernorm.weight"], np.float32)


def test_the_loss_is_that_of_the_outputs(tmp_path: Path) -> None:
    """1/2 * energy / rows * mean over tokens of w_t |E x_t|^2, without second moments."""
    folder = tiny.write(tmp_path / "it", DENSE)
    counts = np.arange(1, TOKENS + 1, dtype=np.float32)
    counts /= counts.mean()
    losses = measure(folder, [QUERY], lambda _: 3.0, lambda _: counts)
    weight, x = tiny.draw(DENSE)[QUERY], inputs_of_first_layer(DENSE)
    for precision in ALL:
        errors = x @ (weight - quantize(weight, precision).dequantize()).T
        wanted = 1.5 / len(weight) * np.mean(counts * (errors**2).sum(axis=1))
        assert losses[QUERY, precision] == pytest.approx(wanted, rel=1e-3)
    assert losses.keys() == {(QUERY, precision) for precision in ALL}


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_finer_precisions_cost_less(config: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", config)
    found = read_checkpoint(folder)
    names = [n for n, t in found.described.items() if t.role == "linear"]
    losses = measure(folder, names)
    assert len(losses) == len(names) * len(ALL)
    coarse, four, eight = (sum(losses[name, p] for name in names) for p in ALL)
    assert coarse > four > 50 * eight
    for name in names:
        if ".experts." not in name:  # an expert may see one token only
            assert losses[name, INT4] > 50 * losses[name, INT8] > 0


def test_experts_count_by_their_share_of_tokens(tmp_path: Path) -> None:
    """With one token, each of its two experts is measured; the share enters squared."""
    folder = tiny.write(tmp_path / "it", SPARSE)
    found = read_checkpoint(folder)
    names = [n for n in found.described if n.startswith(EXPERT)]
    losses = measure(folder, names, sequences=[[5]])
    reached = {name for (name, _), loss in losses.items() if loss > 0}
    assert len({name.split(".")[5] for name in reached}) == SPARSE["num_experts_per_tok"]
    assert len(reached) == 3 * SPARSE["num_experts_per_tok"]


def test_energy_is_a_factor(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", DENSE)
    down = "model.layers.1.mlp.down_proj.weight"
    one = measure(folder, [QUERY, down])
    other = measure(folder, [QUERY, down], lambda name: 7.0 if name == down else 0.0)
    for precision in ALL:
        assert other[down, precision] == pytest.approx(7 * one[down, precision], rel=1e-5)
        assert other[QUERY, precision] == 0


def test_tokens_that_count_nothing_change_nothing(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", DENSE)
    first = np.zeros(TOKENS, np.float32)
    first[: len(SEQUENCES[0])] = TOKENS / len(SEQUENCES[0])
    weighted = measure(folder, [QUERY], weights=lambda _: first)
    alone = measure(folder, [QUERY], sequences=SEQUENCES[:1])
    assert weighted == pytest.approx(alone, rel=1e-3)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", DENSE)
    with pytest.raises(CheckpointError, match="not a number"):
        measure(folder, [QUERY], weights=lambda _: np.full(TOKENS, np.nan, np.float32))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 500))
def test_sequences_are_taken_evenly(lengths: list[int], tokens: int) -> None:
    sequences = [[0] * length for length in lengths]
    kept = evenly(sequences, tokens)
    assert kept
    assert kept == sorted(set(kept))
    if sum(lengths) <= tokens:
        assert kept == list(range(len(lengths)))
    else:
        assert len(kept) < len(lengths) or len(lengths) == 1
