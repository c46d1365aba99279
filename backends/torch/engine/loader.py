"""Reads the weights of a bundle and packs them for the kernels of a device.

A bundle of the format `safetensors` is a checkpoint, so it is read by `qdeploy.checkpoint`: codes,
scales and zero points as they are stored, a matrix at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from qdeploy.architectures.graph import Expert, Linear
from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.kernels import dequantized, selftest
from qdeploy.backends.torch.kernels.base import (
    STATIC,
    Activations,
    ExpertLayers,
    Form,
    Layer,
    Place,
)
from qdeploy.backends.torch.kernels.table import expert_kernel, linear_kernel
from qdeploy.errors import GenerationFailed
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qdeploy.backends.torch.kernels.base import Matrix
    from qdeploy.checkpoint.weights import WeightReader

    Tensor = Any

    Array = NDArray[Any]

FLOAT = Precision(dtype="fp16")


class Loader:
    """The weights of an open bundle, packed for one accelerator. Close it when all are loaded.

    Args:
        reader: of the bundle's weights.
        precisions: of those that are stored as codes, by name.
        dtype: type of activations, by torch's name.
        activations: what linear layers round their inputs to.

    Attributes:
        kernels: how many layers each kernel holds, by its name.
    """

    def __init__(
        self,
        reader: WeightReader,
        precisions: Mapping[str, Precision],
        accelerator: Accelerator,
        dtype: str,
        activations: Activations,
    ) -> None:
        self._reader, self._precisions = reader, precisions
        self._tables: dict[tuple[str, str], Tensor] = {}
        self._accelerator, self._dtype, self._activations = accelerator, dtype, activations
        self.kernels: Counter[str] = Counter()
        self._tested: set[tuple[object, ...]] = set()

    def vector(self, name: str, device: str) -> Tensor:
        return self._floats(name).to(device)

    def table(self, name: str, device: str) -> Tensor:
        made = self._tables[name, device] = self._floats(name).to(device)
        return made

    def linear(self, layers: Sequence[Linear], device: str) -> list[tuple[Layer, tuple[int, ...]]]:
        """Layers of equal forms that follow one another are one product."""
        found = []
        for _, members in groupby(layers, lambda layer: self._fused_as(layer.weight)):
            names = [layer.weight for layer in members]
            rows = tuple(self._reader.shape(name)[0] for name in names)
            found.append((self._layer(names, self._form(names), device), rows))
        return found

    def head(self, layer: Linear, device: str) -> Layer:
        form = replace(self._form([layer.weight]), activations="none")
        return self._layer([layer.weight], form, device)

    def _layer(self, names: Sequence[str], form: Form, device: str) -> Layer:
        kernel = linear_kernel(self._accelerator.linear_kernels(), form, where=names[0])
        if self._is_new(kernel.name, form, device):
            selftest.check(kernel, form, device)
        self.kernels[kernel.name] += 1
        table = self._tables.get((names[0], device))
        if table is not None and kernel.name == dequantized.FLOAT.name:
            return dequantized.Float(table)  # a tied head is not held twice
        return kernel.pack(self._matrix(names, form), form, self._place(device))

    def experts(self, experts: Sequence[Expert], device: str) -> ExpertLayers:
        gate_up = [[expert.gate, expert.up] for expert in experts]
        downs = [[expert.down] for expert in experts]
        outer, inner = (self._form_of_all(stack) for stack in (gate_up, downs))
        kernels = self._accelerator.expert_kernels()
        kernel = expert_kernel(kernels, outer, inner, where=experts[0].gate)
        if self._is_new(kernel.name, outer, device, inner.precision):
            selftest.check_experts(kernel, outer, inner, device)
        self.kernels[kernel.name] += 1
        return kernel.pack(
            [partial(self._matrix, names, outer) for names in gate_up],
            [partial(self._matrix, names, inner) for names in downs],
            outer,
            inner,
            self._place(device),
        )

    def close(self) -> None:
        self._reader.close()

    def _is_new(self, kernel: str, form: Form, device: str, *inner: Precision) -> bool:
        """Whether a kernel has no self-test yet for weights of this kind on a device."""
        kind = (kernel, form.precision, form.activations, device, *inner)
        is_new = kind not in self._tested
        self._tested.add(kind)
        return is_new

    def _place(self, device: str) -> Place:
        return lambda tensor: tensor.to(device)

    def _fused_as(self, name: str) -> tuple[Precision, int]:
        return self._precision(name), self._reader.shape(name)[1]

    def _precision(self, name: str) -> Precision:
        return self._precisions.get(name, FLOAT)

    def _form_of_all(self, stack: Sequence[Sequence[str]]) -> Form:
        """The form of each expert's weights, which kernels hold as one."""
        every = {name: self._precision(name) for names in stack for name in names}
        if len(kinds := set(every.values())) > 1:
            raise GenerationFailed(
                f"experts of one layer are {' and '.join(sorted(map(str, kinds)))}, and are held "
                "as one weight",
                where=next(iter(every)),
                fix="export the checkpoint again with --requantize",
            )
        return self._form(stack[0])

    def _form(self, names: Sequence[str]) -> Form:
        shapes = [self._reader.shape(name) for name in names]
        precision = self._precision(names[0])
        rounded = self._activations if precision.dtype != "fp16" else "none"
        return Form(sum(s[0] for s in shapes), shapes[0][1], precision, rounded, self._dtype)

    def _matrix(self, names: Sequence[str], form: Form) -> Matrix:
        """The rows of all *names*, one after the other."""
        if self._precision(names[0]).dtype == "fp16":
            return _joined([self._reader.rows(name) for name in names])
        parts = [self._reader.codes(name, 0, self._reader.shape(name)[0]) for name in names]
        points = [part.zero_points for part in parts if part.zero_points is not None]
        return Quantized(
            parts[0].precision,
            _joined([part.codes for part in parts]),
            _joined([part.scales for part in parts]),
            _joined(points) if points else None,
            _shared_scale(names, parts) if form.activations == STATIC else None,
        )

    def _floats(self, name: str) -> Tensor:
        """A float weight in the type of activations, read a block at a time."""
        import torch

        made = torch.empty(self._reader.shape(name), dtype=getattr(torch, self._dtype))
        for start, rows in self._reader.blocks(name):
            made[start : start + len(rows)] = torch.from_numpy(rows)
        return made


def _shared_scale(names: Sequence[str], parts: Sequence[Quantized]) -> float:
    """The static scale of the inputs that layers read in common.

    Raises:
        GenerationFailed: one has none, or they differ.
    """
    found: dict[float | None, str] = {}
    for name, part in zip(names, parts, strict=True):
        found.setdefault(part.input_scale, name)
    if None in found:
        raise GenerationFailed(
            "the bundle rounds inputs by static scales, and has none for this layer",
            where=found[None],
            fix="export it again",
        )
    if len(found) > 1:
        listed = " and ".join(f"{scale:g} for {name}" for scale, name in found.items())
        raise GenerationFailed(
            f"layers that read the same inputs round them by several static scales: {listed}",
            where=names[0],
            fix="export it again",
        )
    return next(scale for scale in found if scale is not None)


def _joined(parts: Sequence[Array]) -> Array:
    """All rows, one part after the other."""
    import numpy as np

    return parts[0] if len(parts) == 1 else np.concatenate(parts)
