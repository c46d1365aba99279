"""Calibration of whole models: nearer to the float model, in steps that a kill does not lose."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.calibration import arrays
from qdeploy.errors import CheckpointError
from qdeploy.quantization.precision import Precision
from tests.support import calibrating, tiny
from tests.support.calibrating import draw_ids
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE
from tests.support.weights import f32, save_checkpoint

EMBEDDING = "model.embed_tokens.weight"
IDS = draw_ids(12, 32)
OTHERS = draw_ids(4, 32, seed=1)
VARIANTS: dict[str, dict[str, Any]] = {
    "qwen3": DENSE,
    "qwen2": QWEN2,
    "llama": LLAMA,
    "experts": SPARSE,
    "routing weights as they are": SPARSE | {"norm_topk_prob": False},
    "every second layer": SPARSE | {"decoder_sparse_step": 2},
}


def correlated(folder: Path, config: dict[str, Any]) -> Path:
    """A model whose tokens differ in a few directions, as those of trained models do."""
    tensors, random = tiny.draw(config), np.random.default_rng(2)
    rows, columns = tensors[EMBEDDING].shape
    directions = random.standard_normal((8, columns), np.float32)
    tensors[EMBEDDING] = random.standard_normal((rows, 8), np.float32) @ directions
    return save_checkpoint(folder, {n: f32(w) for n, w in tensors.items()}, config).folder


class Killed(Exception):
    """Stands for the end of a process."""


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_model_is_nearer_to_the_float_one(config: dict[str, Any], tmp_path: Path) -> None:
    """On texts that calibration has not seen: errors of the last hidden states."""
    folder = correlated(tmp_path / "model", config)
    found = calibrating.run(folder, IDS, tmp_path / "codes")
    wanted = calibrating.hidden(folder, OTHERS)

    def error(others: dict[str, calibrating.Floats]) -> float:
        return float(np.square(calibrating.hidden(folder, OTHERS, others) - wanted).mean())

    plain = error(calibrating.rounded_without_data(found))
    assert error(calibrating.calibrated(found)) < 0.9 * plain


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", ["int4", "int8"])
def test_every_linear_weight_gets_codes(tmp_path: Path, symmetric: bool, bits: Any) -> None:
    precision = Precision(dtype=bits, symmetric=symmetric, group_size=-1)
    folder = tiny.write(tmp_path / "model", SPARSE)
    found = calibrating.run(folder, IDS, tmp_path / "codes", precision=precision)
    assert found.losses.keys() == found.store.places.keys()
    assert all(0 <= loss < 1 for loss in found.losses.values())
    for name, place in found.store.places.items():
        exact = found.source.rows(name)
        distance = np.abs(found.store.read(name, 0, place.shape[0]).dequantize() - exact)
        assert distance.max() < np.abs(exact).max()


def test_a_run_goes_on_after_the_last_finished_step(tmp_path: Path) -> None:
    """Killed after each step in turn, the codes are those of a run that is not."""
    folder = tiny.write(tmp_path / "model", SPARSE)
    whole = calibrating.run(folder, IDS, tmp_path / "whole")
    steps = []

    def killed(step: int) -> None:
        steps.append(step)
        raise Killed

    for _ in range(2 * SPARSE["num_hidden_layers"]):
        with pytest.raises(Killed):
            calibrating.run(folder, IDS, tmp_path / "parts", progress=killed)
    found = calibrating.run(folder, IDS, tmp_path / "parts")
    assert steps == list(range(1, len(steps) + 1))
    assert found.losses == whole.losses
    for name, place in whole.store.places.items():
        ours, theirs = (w.store.read(name, 0, place.shape[0]) for w in (found, whole))
        assert np.array_equal(ours.codes, theirs.codes)
        assert np.array_equal(ours.scales, theirs.scales)


def test_a_step_that_was_cut_short_is_repeated(tmp_path: Path) -> None:
    """The journal's last line is written after the codes, and may itself be cut short."""
    folder = tiny.write(tmp_path / "model", DENSE)
    whole = calibrating.run(folder, IDS, tmp_path / "codes")

    def killed(step: int) -> None:
        if step == 3:
            raise Killed

    parts = tmp_path / "parts"
    with pytest.raises(Killed):
        calibrating.run(folder, IDS, parts, progress=killed)
    journal = parts / "journal.jsonl"
    # as a kill leaves it between the streams of a step and its line
    shutil.copy(parts / "3-exact.f32", parts / "2-exact.f32")
    shutil.copy(parts / "3-rounded.f32", parts / "2-rounded.f32")
    journal.write_text(journal.read_text()[:-5])
    assert calibrating.run(folder, IDS, parts).losses.keys() == whole.losses.keys()


def test_the_number_of_threads_changes_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.write(tmp_path / "model", SPARSE)
    losses = []
    for threads in (1, 3):
        monkeypatch.setattr("qdeploy.system.in_order.usable_threads", lambda n=threads: n)
        losses.append(calibrating.run(folder, IDS, tmp_path / str(threads)).losses)
    assert losses[0] == losses[1]


def test_arrays_in_files_change_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.write(tmp_path / "model", DENSE)
    memory = calibrating.run(folder, IDS, tmp_path / "memory")
    monkeypatch.setattr(arrays, "IN_MEMORY_BYTES", 0)
    assert calibrating.run(folder, IDS, tmp_path / "files").losses == memory.losses


def test_an_expert_that_no_token_reaches_is_calibrated_on_the_others(tmp_path: Path) -> None:
    tensors = tiny.draw(SPARSE)
    router = "model.layers.1.mlp.gate.weight"
    experts = tensors[router].shape[0]
    # one expert's logit is far below all others, whatever the token
    tensors["model.layers.1.post_attention_layernorm.weight"][0] = 0
    tensors[router][:, 0] = 0
    tensors[router][experts - 1] = -tensors[router][: experts - 1].sum(axis=0)
    folder = save_checkpoint(
        tmp_path / "model", {name: f32(values) for name, values in tensors.items()}, SPARSE
    ).folder
    found = calibrating.run(folder, IDS, tmp_path / "codes")
    assert np.isfinite(list(found.losses.values())).all()
    assert found.losses.keys() == found.store.places.keys()


def test_one_repeated_token_is_enough_for_finite_codes(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "model", DENSE)
    found = calibrating.run(folder, [[7] * 32], tmp_path / "codes")
    assert all(np.isfinite(w).all() for w in calibrating.calibrated(found).values())


def test_activations_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    """Two layers whose outputs overflow float32."""
    tensors = tiny.draw(DENSE)
    for layer in range(2):
        tensors[f"model.layers.{layer}.mlp.down_proj.weight"] *= np.float32(1e30)
        tensors[f"model.layers.{layer}.mlp.up_proj.weight"] *= np.float32(1e10)
    folder = save_checkpoint(
        tmp_path / "model", {name: f32(values) for name, values in tensors.items()}, DENSE
    ).folder
    with np.errstate(all="ignore"), pytest.raises(CheckpointError) as caught:
        calibrating.run(folder, IDS, tmp_path / "codes")
    assert "layers." in str(caught.value.where)
