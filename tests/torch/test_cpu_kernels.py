"""The CPU's kernels multiply as the dequantized weight does, by either way, in every layout."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from qdeploy.backends.torch.accelerators.cpu import Cpu
from qdeploy.backends.torch.kernels import selftest
from qdeploy.backends.torch.kernels.base import Activations, Form
from qdeploy.backends.torch.kernels.cpu import int4, int8, switching
from qdeploy.backends.torch.kernels.cpu.layouts import LAYOUTS, Layout
from qdeploy.backends.torch.kernels.cpu.switching import Switch
from qdeploy.backends.torch.kernels.table import linear_kernel
from qdeploy.quantization.precision import Precision

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

FOUR = [
    Precision(dtype="int4", symmetric=symmetric, group_size=size)
    for symmetric in (True, False)
    for size in (32, 128)
]
EIGHT = Precision(dtype="int8", symmetric=True, group_size=-1)
CASES = [(precision, "none") for precision in (*FOUR, EIGHT)] + [
    (EIGHT, "int8"), (EIGHT, "int8-static"),
]  # fmt: skip


@pytest.mark.parametrize(("precision", "activations"), CASES)
def test_each_kernel_is_right_for_few_and_for_many_rows(
    precision: Precision, activations: Activations
) -> None:
    form = Form(4096, 512, precision, activations)
    kernel = linear_kernel(Cpu().linear_kernels(), form, where="here")
    assert kernel.name.startswith("aten::_")
    selftest.check(kernel, form, "cpu")


@pytest.mark.parametrize("precision", [*FOUR, EIGHT])
def test_both_ways_agree_over_several_tiles(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (int4, int8):
        monkeypatch.setattr(module, "TILE", 128 * 256)
    form = Form(300, 256, precision)
    weight = selftest.random_weight(form, np.random.default_rng(1))
    kernel = linear_kernel(Cpu().linear_kernels(), form, where="here")
    layer = kernel.pack(weight, form, lambda tensor: tensor)
    assert isinstance(layer, switching.Switching)
    x = torch.randn(20, 256, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    made, wanted = layer.dequantized(x).float(), layer.operator(x).float()
    assert made.shape == wanted.shape == (20, 300)
    assert (made - wanted).abs().max() < 0.02 * wanted.abs().max()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_unpacked(layout: Layout) -> None:
    """Packed by hand, as the source of the operator says."""
    rows, columns = 128, 6
    codes = np.random.default_rng(3).integers(0, 16, (rows, columns)).astype(np.uint8)
    blocks = codes.reshape(-1, layout.block, columns)
    half = layout.block // 2
    low, high = (
        (blocks[:, :half], blocks[:, half:])
        if layout.halves
        else (blocks[:, 0::2], blocks[:, 1::2])
    )
    packed = (low | high << 4).transpose(0, 2, 1).reshape(rows, -1)
    made = torch.empty((columns, rows), dtype=torch.uint8)
    layout.unpack(torch.from_numpy(packed.copy()), made)
    assert np.array_equal(made.t().numpy(), codes)


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_the_layout_of_each_kind_of_processor_is_found(capability: str) -> None:
    code = (
        "import torch; from qdeploy.backends.torch.kernels.cpu.layouts import layout; "
        "print(torch.backends.cpu.get_cpu_capability(), layout() is not None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[1] == "True", done.stdout


class Timed(switching.Switching):
    """A layer whose two ways take times of its own, in seconds, by the number of rows."""

    def __init__(
        self,
        operator: tuple[float, float],
        dense: tuple[float, float],
        elements: int = switching.TILE,
    ) -> None:
        super().__init__(elements, 1, Switch())
        self.clock = 0.0
        self._operator, self._dense = operator, dense

    def operator(self, x: object) -> None:
        self.clock += self._operator[0] + self._operator[1] * len(x)  # type: ignore[arg-type]

    def dequantized(self, x: object) -> None:
        self.clock += self._dense[0] + self._dense[1] * len(x)  # type: ignore[arg-type]

    @property
    def tensors(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    ("operator", "dense", "rows"),
    [
        ((0.0, 1.0), (30.0, 0.5), 64),
        ((0.0, 1.0), (7.0, 0.5), 16),
        ((0.0, 0.5), (0.0, 1.0), switching.MOST),
        ((50.0, 1.0), (0.0, 0.5), switching.FEWEST),
    ],
)
def test_where_the_ways_cross(
    operator: tuple[float, float],
    dense: tuple[float, float],
    rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = Timed(operator, dense)
    clock = SimpleNamespace(perf_counter=lambda: layer.clock)
    monkeypatch.setattr(f"{switching.__name__}.time", clock)
    switch = Switch()
    switch.offer(layer)
    assert f"up to {rows} rows" in switch.settle(None)
    assert switch.rows == rows


def test_rows_that_a_user_sets_are_not_measured() -> None:
    switch = Switch()
    switch.offer(Timed((0, 1), (30, 0.5)))
    assert "up to 5 rows" in switch.settle(5)
    assert switch.rows == 5


def test_small_weights_are_multiplied_in_the_same_way_at_every_load() -> None:
    """Their times are other processes' more than their own."""
    switch = Switch()
    switch.offer(Timed((50, 1), (0, 0.5), elements=switching.MEASURABLE - 1))
    assert f"up to {switching.USUAL} rows" in switch.settle(None)


def test_a_packing_of_an_unknown_layout_is_used_for_all_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int4, "layout", lambda: None)
    form = Form(64, 256, FOUR[0])
    accelerator = Cpu()
    kernel = linear_kernel(accelerator.linear_kernels(), form, where="here")
    selftest.check(kernel, form, "cpu")
    assert accelerator.tune(None) == (
        f"{kernel.name} for any number of rows, since its packing has an unknown layout",
    )
