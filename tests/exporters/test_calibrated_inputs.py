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
from qdeploy.quantization.inputs import round_by_token
from qdeploy.storage.cache_root import ENVIRONMENT
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support import rounding_forward
from tests.support.native import resolve
from tests.support.rounding_forward import Floats

NAME = "qwen3-nano"
LINEAR = '{ dtype = "int8", symmetric = true }'
FLOAT = '{ dtype = "fp16" }'
GRAPH = 'activations = "bf16"\ninput_activations = "int8"'
CALIBRATION = Calibration(2048, 0, importance=False)
EMBEDDING, NORM = "model.embed_tokens.weight", "layernorm.weight"


def bundle(model: Path, folder: Path, calibration: Calibration | None) -> Path:
    plan = resolve(
        model, linear=LINEAR, embedding=FLOAT, format="safetensors", graph=GRAPH,
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
def test_channels_are_evened_out(tmp_path: Path) -> None:
    """By a forward that rounds inputs token by token, on a text that is not calibrated on."""
    model = write_uneven(tmp_path / "model")
    passages = read_passages("prose", Tokenizer(model), windows=4).passages
    ids = [passage.ids for passage in passages]
    following = np.concatenate([np.append(row[1:], 0) for row in ids])
    exact = open_weights(read_checkpoint(model))
    wanted = logits(exact, rounding_forward.hidden(model, exact, ids))
    readers = {
        kind: open_weights(read_checkpoint(bundle(model, tmp_path / kind, calibration)))
        for kind, calibration in (("plain", None), ("chosen", CALIBRATION))
    }

    def divergence(kind: str) -> float:
        tally = Tally()
        made = rounding_forward.hidden(tmp_path / kind, readers[kind], ids, by_token)
        tally.add(wanted, logits(exact, made), following)
        return tally.figures().kl_mean

    assert divergence("chosen") < 0.1 * divergence("plain")
    norms = [name for name in exact.names if name.endswith(NORM)]
    factors = [readers["plain"].rows(n) / readers["chosen"].rows(n) for n in norms]
    logs = np.log2(np.concatenate(factors))
    assert np.array_equal(logs, np.rint(logs))
    assert logs.any()
