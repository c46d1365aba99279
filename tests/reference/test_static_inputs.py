"""transformers and compressed-tensors round inputs by static scales as torch's engine does.

The scales are of what the float model reads, so that few inputs are beyond them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy import models
from qdeploy.backends.torch import TorchBackend
from qdeploy.deploy.export import export
from qdeploy.exporters.native import NativeExporter
from qdeploy.interface import LoadOptions, Progress
from qdeploy.targets import CPU
from tests.support.calibrated import SETTINGS
from tests.support.native import resolve
from tests.support.static_inputs import GRAPH, put_in

torch = pytest.importorskip("torch", reason="needs qdeploy[parity]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[parity]")
pytest.importorskip("compressed_tensors", reason="needs qdeploy[parity]")

MODEL = "qwen3-nano"
IDS = [1, 5, 300, 20, 7, 9, 1000, 44]
CLOSE = 0.01
"""Of logits up to 10, measured 2.4e-6: an input between two codes may be rounded to either."""


def seen_scales() -> dict[str, float]:
    """Of each linear layer: the largest magnitude of its inputs divided by 127.5."""
    model = transformers.AutoModelForCausalLM.from_pretrained(models.path(MODEL)).float()
    found: dict[str, float] = {}

    def watch(name: str) -> Any:
        def hook(module: Any, inputs: Any) -> None:
            found[f"{name}.weight"] = float(np.float32(inputs[0].abs().max().item() / 127.5))

        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(watch(name))
    with torch.inference_mode():
        model(torch.tensor([IDS]))
    return found


def test_logits_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scales = seen_scales()
    put_in(monkeypatch, scales.get)
    plan = resolve(
        models.path(MODEL), linear='{ dtype = "int8", symmetric = true }', format="safetensors",
        graph=GRAPH, calibration=SETTINGS,
    )  # fmt: skip
    bundle = export(plan, NativeExporter(), tmp_path / "bundle", Progress(), force=False)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        bundle.path, output_loading_info=True
    )
    assert not any(report.values()), report
    for tensor in plan.linears:
        module = model.get_submodule(tensor.name.removesuffix(".weight"))
        assert module.input_scale.tolist() == [scales[tensor.name]]
    with torch.inference_mode():
        wanted = model(torch.tensor([IDS])).logits[0].numpy()
    backend = TorchBackend()
    with backend.load(bundle, backend.devices(CPU)[0], LoadOptions()) as session:
        made = session.score(IDS)
    assert np.abs(made - wanted).max() < CLOSE
    put_in(monkeypatch, lambda name: 2 * scales[name])
    coarser = export(plan, NativeExporter(), tmp_path / "coarser", Progress(), force=False)
    with backend.load(coarser, backend.devices(CPU)[0], LoadOptions()) as session:
        assert np.abs(session.score(IDS) - wanted).max() > 3 * CLOSE


def test_inputs_are_rounded_as_by_the_library() -> None:
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize

    from qdeploy.backends.torch.kernels.rounding import round_to_int8

    arguments = QuantizationArgs(num_bits=8, symmetric=True, strategy="tensor", dynamic=False)
    scale = torch.tensor([2.0**-5])
    halves = torch.arange(-300, 300).float()[None] / 2 * scale  # every other one is a tie
    codes, scales = round_to_int8(halves, scale)
    assert codes.min() == -128
    assert codes.max() == 127
    wanted = fake_quantize(halves, scale, torch.zeros(1), arguments)
    torch.testing.assert_close(codes * scales, wanted, rtol=0, atol=0)
