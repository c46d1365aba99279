"""A kernel that is wrong is refused by its name when a bundle is loaded, and never replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import qdeploy
from qdeploy import models
from qdeploy.backends.torch.accelerators.cpu import Cpu
from qdeploy.backends.torch.kernels import selftest
from qdeploy.backends.torch.kernels.base import Form, Kernel, Layer, Place
from qdeploy.backends.torch.kernels.cpu.int4 import int4
from qdeploy.backends.torch.kernels.cpu.int8 import INT8_INPUTS
from qdeploy.backends.torch.kernels.cpu.switching import Switch
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.errors import GenerationFailed
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.quantized import Quantized

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

FORM = Form(4096, 4096, Precision(dtype="int4", symmetric=True, group_size=128))


class Altered(Layer):
    """A layer whose results are changed."""

    def __init__(self, layer: Layer, change: Callable[[Any], Any]) -> None:
        self.rows, self._layer, self._change = layer.rows, layer, change

    def __call__(self, x: Any) -> Any:
        return self._change(self._layer(x))

    @property
    def tensors(self) -> tuple[Any, ...]:
        return self._layer.tensors


def altered(kernel: Kernel, change: Callable[[Any], Any]) -> Kernel:
    def pack(weight: Any, form: Form, place: Place) -> Layer:
        return Altered(kernel.pack(weight, form, place), change)

    return replace(kernel, pack=pack)


def swapped(weight: Any, form: Form, place: Place) -> Layer:
    """Pairs of columns are swapped, as by a kernel that takes the other half of a byte first."""
    assert isinstance(weight, Quantized)
    codes = weight.codes.reshape(weight.codes.shape[0], -1, 2)[..., ::-1].reshape(form.rows, -1)
    return DEQUANTIZED.pack(replace(weight, codes=codes.copy()), form, place)


def broken(_: Any) -> Any:
    raise RuntimeError("no kernel image is available for execution on the device\n at ...")


WRONG = {
    "other columns": replace(DEQUANTIZED, pack=swapped),
    "not a number": altered(DEQUANTIZED, lambda y: y * float("nan")),
    "one row": altered(DEQUANTIZED, lambda y: y.index_fill(-1, torch.tensor([17]), 0)),
    "a tenth off": altered(DEQUANTIZED, lambda y: y * 1.1),
    "many tokens only": altered(DEQUANTIZED, lambda y: y if len(y) < 100 else y.roll(1, 0)),
}


@pytest.mark.parametrize("how", WRONG)
def test_wrong_results(how: str) -> None:
    with pytest.raises(GenerationFailed, match="is wrong on cpu") as raised:
        selftest.check(WRONG[how], FORM, "cpu")
    message = str(raised.value)
    assert DEQUANTIZED.name in message
    assert "int4 sym g128" in message
    assert "another precision" in message


def test_inputs_that_are_clamped_too_early() -> None:
    form = Form(512, 512, Precision(dtype="int8", symmetric=True), "int8-static")
    selftest.check(INT8_INPUTS, form, "cpu")

    def narrower(weight: Any, form: Form, place: Place) -> Layer:
        return INT8_INPUTS.pack(replace(weight, input_scale=weight.input_scale / 8), form, place)

    with pytest.raises(GenerationFailed, match="is wrong on cpu"):
        selftest.check(replace(INT8_INPUTS, pack=narrower), form, "cpu")


def test_an_operator_that_the_device_cannot_run() -> None:
    with pytest.raises(GenerationFailed, match="no kernel image is available") as raised:
        selftest.check(altered(DEQUANTIZED, broken), FORM, "cpu")
    assert DEQUANTIZED.name in str(raised.value)


def test_loading_stops_at_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = qdeploy.export(
        models.path("qwen3-nano"), target="cpu", profile="cpu-int4-torch", output=tmp_path / "nano"
    )
    right = int4(Switch())
    wrong = altered(right, lambda y: y.flip(-1))
    monkeypatch.setattr(Cpu, "linear_kernels", lambda self: (FLOAT, wrong, DEQUANTIZED))
    with pytest.raises(GenerationFailed, match=f"{right.name} is wrong on cpu"):
        qdeploy.load(bundle, device="cpu")
