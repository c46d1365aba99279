"""What four bits cost: less than with plain rounding, and no more than with NNCF's own choice."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy import models
from qdeploy.exporters import quantize as package
from qdeploy.exporters.native import NativeExporter
from qdeploy.exporters.optimum import OptimumExporter
from qdeploy.interface import Exporter, Progress
from qdeploy.tokenizer import Tokenizer
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


def log_probabilities(model: Model, name: str) -> Logits:
    """Of every token of the questions and their answers, one array [T, V] a question."""
    tokenizer, found = Tokenizer(models.path(name)), []
    for asked in QUESTIONS:
        prompt = tokenizer.render([{"role": "user", "content": asked.question}], think=False)
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


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_search_beats_plain_rounding(
    scheme: str, name: str, exact: Logits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = divergence(exact, made_by(NativeExporter(), name, SCHEMES[scheme], tmp_path))
    monkeypatch.setattr(package, "quantize", partial(package.quantize, search=False))
    (tmp_path / "plain").mkdir()
    plain = divergence(exact, made_by(NativeExporter(), name, SCHEMES[scheme], tmp_path / "plain"))
    assert searched < plain


@NEEDS_OPTIMUM
@pytest.mark.parametrize("scheme", ["asym g128", "sym channel"])
def test_four_bits_cost_no_more_than_with_nncf(
    scheme: str, name: str, exact: Logits, tmp_path: Path
) -> None:
    ours = divergence(exact, made_by(NativeExporter(), name, SCHEMES[scheme], tmp_path))
    theirs = divergence(exact, made_by(OptimumExporter(), name, SCHEMES[scheme], tmp_path))
    assert ours <= theirs
