"""Bundles for inputs of int8 hold what calibration chose for them, and are nearer to the model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qdeploy import models
from qdeploy.calibration.smoothing.factors import SmoothedReader
from qdeploy.calibration.smoothing.sites import find_sites
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, open_weights
from qdeploy.deploy.export import export
from qdeploy.evaluate.divergence import Tally
from qdeploy.evaluate.text import read_passages
from qdeploy.exporters.native import NativeExporter
from qdeploy.forward.arithmetic import multiply
from qdeploy.interface import Progress
from qdeploy.planning.calibration import Calibration
from qdeploy.quantization.inputs import round_by_token, round_to
from qdeploy.storage.cache_root import ENVIRONMENT
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support import rounding_forward
from tests.support.native import resolve
from tests.support.rounding_forward import Floats, Round

NAME = "qwen3-nano"
LINEAR = '{ dtype = "int8", symmetric = true }'
FLOAT = '{ dtype = "fp16" }'
CALIBRATION = Calibration(2048, 0, importance=False)
EMBEDDING, NORM = "model.embed_tokens.weight", "layernorm.weight"


def bundle(
    model: Path, folder: Path, inputs: str = "int8", calibration: Calibration | None = None
) -> Path:
    graph = f'activations = "bf16"\ninput_activations = "{inputs}"'
    plan = resolve(
        model, linear=LINEAR, embedding=FLOAT, format="safetensors", graph=graph,
        calibration=calibration,
    )  # fmt: skip
    export(plan, NativeExporter(), folder, Progress(), force=False)
    return folder


def logits(exact: WeightReader, hidden: Floats) -> Floats:
    """By the float head, which is the embedding."""
    return multiply(exact, hidden, EMBEDDING)


def by_token(name: str, x: Floats) -> Floats:
    return round_by_token(x)


@pytest.fixture
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))


def write_uneven(folder: Path) -> Path:
    """The same model, in which some channels of all inputs are 32 times as large as the others."""
    checkpoint, random = read_checkpoint(models.path(NAME)), np.random.default_rng(0)
    sites = find_sites(checkpoint.architecture, checkpoint.graph(None))
    with open_weights(checkpoint) as source:
        drawn = {}
        for site in sites:
            drawn[site.name] = np.zeros(source.shape(site.name)[1] // site.shared, np.int8)
            drawn[site.name][random.choice(len(drawn[site.name]), 2, replace=False)] = -5
        uneven = SmoothedReader(source, sites, lambda site: drawn[site.name])
        shutil.copytree(checkpoint.folder, folder)
        save_file({n: uneven.rows(n) for n in uneven.names}, folder / "model.safetensors")
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize("inputs", ["int8", "int8-static"])
def test_channels_are_evened_out(inputs: str, tmp_path: Path) -> None:
    """By a forward that rounds inputs as the bundle says, on a text that is not calibrated on.

    They are compared with inputs that are rounded token by token and not evened out.
    """
    model = write_uneven(tmp_path / "model")
    passages = read_passages("prose", Tokenizer(model), windows=4).passages
    ids = [passage.ids for passage in passages]
    following = np.concatenate([np.append(row[1:], 0) for row in ids])
    exact = open_weights(read_checkpoint(model))
    wanted = logits(exact, rounding_forward.hidden(model, exact, ids))
    plain = bundle(model, tmp_path / "plain")
    chosen = bundle(model, tmp_path / "chosen", inputs, CALIBRATION)
    readers = {folder: open_weights(read_checkpoint(folder)) for folder in (plain, chosen)}

    def by_scale(name: str, x: Floats) -> Floats:
        scale = readers[chosen].codes(name, 0, 1).input_scale
        assert scale is not None
        return round_to(x, np.float32(scale))

    def divergence(folder: Path, by: Round) -> float:
        tally = Tally()
        made = rounding_forward.hidden(folder, readers[folder], ids, by)
        tally.add(wanted, logits(exact, made), following)
        return tally.figures().kl_mean

    found = divergence(chosen, by_scale if inputs == "int8-static" else by_token)
    assert found < 0.2 * divergence(plain, by_token)
    norms = [name for name in exact.names if name.endswith(NORM)]
    factors = [readers[plain].rows(n) / readers[chosen].rows(n) for n in norms]
    logs = np.log2(np.concatenate(factors))
    assert np.array_equal(logs, np.rint(logs))
    assert logs.any()
