"""The optimum exporter makes the same model as the native one, by another way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from qdeploy import models
from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.deploy.export import export, prepare
from qdeploy.interface import Progress
from tests.support.real import NEEDS_OPTIMUM, NEEDS_RUNTIME

pytestmark = [pytest.mark.slow, NEEDS_OPTIMUM, NEEDS_RUNTIME]
FLOAT = Path(__file__).parents[1] / "conformance" / "profiles" / "intel-cpu-fp16.toml"
ROUNDING = 1e-3
"""Largest difference of logits of the order of ten, both computed in float32."""


def logits(bundle: Bundle, ids: list[int]) -> NDArray[np.float32]:
    with run.load(bundle, run.choose(bundle, target="cpu")) as session:
        return session.score(ids)


@pytest.mark.parametrize("model", models.EMBEDDED)
def test_float_bundles_of_both_exporters_agree(model: str, tmp_path: Path) -> None:
    golden = load_file(models.path(model) / "golden.safetensors")
    ids = golden["0.input_ids"].tolist()
    found = []
    for name in ("native", "optimum"):
        plan, exporter = prepare(model, "intel-cpu", profile_name=str(FLOAT), exporter_name=name)
        made = export(plan, exporter, tmp_path / name, Progress(), force=False)
        assert made.manifest.exporter == name
        found.append(logits(made, ids))
    assert np.abs(found[0] - found[1]).max() < ROUNDING
