"""The loss by four bits is less than with plain rounding, and at most that of NNCF's scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy import models
from qdeploy.exporters.native import NativeExporter
from qdeploy.exporters.optimum import OptimumExporter
from qdeploy.interface import Exporter, Progress
from qdeploy.quantization import matrix as package
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.native import FLOAT, resolve
from tests.support.real import NEEDS_OPTIMUM, NEEDS_RUNTIME
from tests.support.running import Model

pytestmark = [pytest.mark.slow, NEEDS_RUNTIME]

SCHEMES = {
    "asym g128": '{ dtype = "int4", group_size = 128 }',
    "sym g128": '{ dtype = "int4", group_size = 128, symmetric = true }',
    "sym channel": '{ dtype = "int4", symmetric = true }',
}
QUESTIONS = models.heldout()[::6]

Logits = list[NDArray[np.float64]]
Costs = Mapping[str, float]


def log_probabilities(model: Model, name: str) -> Logits:
    """Of every token of the questions and their answers, one array [T, V] a question."""
    tokenizer, found = Tokenizer(models.path(name)), []
    for asked in QUESTIONS:
        prompt = tokenizer.render([{"role": "user", "content": asked.question}], thinking=False)
        ids = np.array([tokenizer.encode(prompt + asked.answer)], np.int64)
        model.reset()
        x = model.feed(ids)[0].astype(np.float64)
        x -= x.max(-1, keepdims=True)
        found.append(x - np.log(np.exp(x).sum(-1, keepdims=True)))
    return found


def divergence(wanted: Logits, got: Logits) -> float:
    """Mean Kullback-Leibler divergence in nats a token."""
    each = [(np.exp(p) * (p - q)).sum(-1) for p, q in zip(wanted, got, strict=True)]
    return float(np.concatenate(each).mean())


@pytest.fixture(scope="module", params=models.EMBEDDED)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def exact(name: str, tmp_path_factory: pytest.TempPathFactory) -> Logits:
    return made_by(NativeExporter(), name, FLOAT, tmp_path_factory.mktemp("float"))


def made_by(exporter: Exporter, name: str, linear: str, place: Path) -> Logits:
    plan = resolve(models.path(name), linear=linear)
    folder = place / exporter.name
    folder.mkdir()
    exporter.export(plan, folder, Progress())
    return log_probabilities(Model(folder), name)


def costs(exporter: Exporter, name: str, schemes: Iterable[str], exact: Logits, at: Path) -> Costs:
    """Divergence of each scheme."""
    found = {}
    for scheme in schemes:
        (folder := at / scheme).mkdir(parents=True)
        found[scheme] = divergence(exact, made_by(exporter, name, SCHEMES[scheme], folder))
    return found


def ratio(ours: Costs, theirs: Costs) -> float:
    """Of the schemes of *theirs* the mean ratio: a single one depends on how its rounding falls.

    In forms of a model that are equal but for signs and scales of columns, the divergence of one
    scheme spreads by 6 to 15%.
    """
    return math.exp(fmean(math.log(ours[scheme] / theirs[scheme]) for scheme in theirs))


@pytest.fixture(scope="module")
def ours(name: str, exact: Logits, tmp_path_factory: pytest.TempPathFactory) -> Costs:
    return costs(NativeExporter(), name, SCHEMES, exact, tmp_path_factory.mktemp("ours"))


def test_the_search_beats_plain_rounding(
    ours: Costs, name: str, exact: Logits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "quantize", partial(package.quantize, search=False))
    plain = costs(NativeExporter(), name, SCHEMES, exact, tmp_path)
    assert ratio(ours, plain) < 1


@NEEDS_OPTIMUM
def test_four_bits_cost_no_more_than_with_nncf(
    ours: Costs, name: str, exact: Logits, tmp_path: Path
) -> None:
    theirs = costs(OptimumExporter(), name, ("asym g128", "sym channel"), exact, tmp_path)
    assert ratio(ours, theirs) <= 1
