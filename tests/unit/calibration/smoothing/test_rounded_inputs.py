"""Calibration for inputs of int8: the model that kernels compute is nearer to the float one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.calibration.codes import CalibratedReader
from qdeploy.calibration.layers.weights import Weights
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, open_weights
from qdeploy.quantization.inputs import HALF_RANGE, round_by_token, round_to
from qdeploy.quantization.precision import Precision
from tests.support import calibrating, rounding_forward, tiny
from tests.support.calibrating import Changed, draw_ids
from tests.support.rounding_forward import Round
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE
from tests.support.weights import f32, save_checkpoint

INT8 = Precision(dtype="int8", symmetric=True)
IDS, OTHERS = draw_ids(12, 32), draw_ids(4, 32, seed=1)
MODELS: dict[str, dict[str, Any]] = {
    "qwen3": DENSE, "qwen2": QWEN2, "llama": LLAMA, "experts": SPARSE,
}  # fmt: skip
Floats = rounding_forward.Floats


def with_outliers(folder: Path, config: dict[str, Any]) -> Path:
    """A model that is large in some channels, as trained ones are: in norms, values and gates."""
    tensors, random = tiny.draw(config), np.random.default_rng(3)
    for name, weight in tensors.items():
        if "layernorm" in name or "v_proj.weight" in name or "up_proj" in name:
            weight[random.choice(len(weight), 3, replace=False)] *= 32
    return save_checkpoint(folder, {n: f32(w) for n, w in tensors.items()}, config).folder


def by_token(name: str, x: Floats) -> Floats:
    return round_by_token(x)


def dequantized(found: Weights, source: WeightReader) -> WeightReader:
    """The model's floats, with the weights that the codes stand for."""
    reader = CalibratedReader(found.store.smoothed(source), found.store, found.store.places)
    codes = {
        name: reader.codes(name, 0, place.shape[0]).dequantize()
        for name, place in found.store.places.items()
    }
    return Changed(reader, codes)


def static_scales(found: Weights) -> dict[str, np.float32]:
    read = {name: found.store.read(name, 0, 1).input_scale for name in found.store.places}
    return {name: np.float32(scale) for name, scale in read.items() if scale is not None}


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("static", [False, True], ids=["by token", "static"])
def test_the_model_is_nearer_to_the_float_one(
    config: dict[str, Any], static: bool, tmp_path: Path
) -> None:
    """On texts that calibration has not seen, beside weights and inputs rounded by themselves."""
    folder = with_outliers(tmp_path / "model", config)
    source = open_weights(read_checkpoint(folder))
    found = calibrating.run(
        folder, IDS, tmp_path / "codes", precision=INT8, rounds=True, static=static
    )
    wanted = rounding_forward.hidden(folder, source, OTHERS)

    def error(weights: WeightReader, by: Round) -> float:
        made = rounding_forward.hidden(folder, weights, OTHERS, by)
        return float(np.square(made - wanted).mean())

    plain = Changed(source, calibrating.rounded_without_data(found))
    if static:
        scales, largest = static_scales(found), largest_inputs(folder, source)
        assert scales.keys() == found.store.places.keys()
        ours = error(dequantized(found, source), lambda name, x: round_to(x, scales[name]))
        theirs = error(plain, lambda name, x: round_to(x, largest[name]))
    else:
        assert not static_scales(found)
        ours = error(dequantized(found, source), by_token)
        theirs = error(plain, by_token)
    assert ours < 0.8 * theirs


def largest_inputs(folder: Path, source: WeightReader) -> dict[str, np.float32]:
    """Of each weight, the scale that clips no input of the calibration's texts."""
    found: dict[str, np.float32] = {}

    def note(name: str, x: Floats) -> Floats:
        found[name] = np.float32(max(np.abs(x).max(initial=1e-6) / HALF_RANGE, found.get(name, 0)))
        return x

    rounding_forward.hidden(folder, source, IDS, note)
    return found


@pytest.mark.parametrize("static", [False, True], ids=["by token", "static"])
def test_a_run_goes_on_after_the_last_finished_step(static: bool, tmp_path: Path) -> None:
    """Killed after any step, the codes, factors and scales are those of a run that is not."""
    folder = with_outliers(tmp_path / "model", SPARSE)

    def run(into: Path, progress: Callable[[int], None] = lambda step: None) -> Weights:
        return calibrating.run(
            folder, IDS, into, precision=INT8, rounds=True, static=static, progress=progress
        )

    def kill(step: int) -> None:
        raise KeyboardInterrupt

    whole = run(tmp_path / "whole")
    for _ in range(2 * SPARSE["num_hidden_layers"]):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", kill)
    again = run(tmp_path / "parts")
    codes = (whole.store.folder / "codes.bin").read_bytes()
    assert (again.store.folder / "codes.bin").read_bytes() == codes
    chosen = [whole.store.chosen(site) for site in whole.store.sites]
    assert any(choice is not None and choice.exponents.any() for choice in chosen)


def test_weights_of_other_precisions_are_not_rounded_to(tmp_path: Path) -> None:
    """Without sites, the codes are those of float inputs."""
    folder = tiny.write(tmp_path / "model", DENSE)
    plain = calibrating.run(folder, IDS, tmp_path / "plain", precision=INT8)
    assert plain.store.smoothed(plain.source) is plain.source
    rounded = calibrating.run(folder, IDS, tmp_path / "rounded", precision=INT8, rounds=True)
    name = next(iter(plain.store.places))
    one, other = (w.store.read(name, 0, 8).codes for w in (plain, rounded))
    assert not np.array_equal(one, other)
