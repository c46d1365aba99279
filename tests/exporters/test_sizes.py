"""A bundle has the size that its plan predicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy import models
from tests.support.native import export, resolve

INT4, INT8 = '{ dtype = "int4", group_size = 128 }', '{ dtype = "int8" }'
FORMS = {
    "openvino": ("openvino", INT4, ""),
    "contrib": ("onnx", INT4, ""),
    "unrolled": ("onnx", INT4, 'attention = "plain"\nexperts = "unrolled"'),
    "static": ("onnx-static", INT8, 'context = 512\nactivations = "fp16"'),
    "safetensors": ("safetensors", INT4, 'activations = "bf16"'),
}
OFF = 0.06
"""A graph is a larger part of these bundles than of any real one's, of which it is 0.1%."""


@pytest.mark.parametrize("model", models.EMBEDDED)
@pytest.mark.parametrize("form", FORMS)
def test_the_size_is_as_predicted(form: str, model: str, tmp_path: Path) -> None:
    name, linear, graph = FORMS[form]
    plan = resolve(models.path(model), linear=linear, format=name, graph=graph)
    folder = export(plan, tmp_path / "bundle")
    sidecars = sum(path.stat().st_size for path in plan.checkpoint.sidecars.values())
    size = sidecars + sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
    assert abs(size / plan.bundle_bytes - 1) < OFF
