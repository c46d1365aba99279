"""The contract of kernels: how a weight lies on a device, and the product with it.

A kernel is a row of a table (`kernels.table`): what it takes, and how it packs. Packing makes a
`Layer`, which holds tensors in the kernel's own order and multiplies by them. qdeploy has no kernel
of its own; a row names the operators of torch or of the vendor that it calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qdeploy.quantization.precision import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.quantization.quantized import Quantized

    Tensor = Any
    """A `torch.Tensor`; torch is imported by what runs, never by what describes."""
    Matrix = Quantized | NDArray[np.float32]
    """A weight [N, K] on the host: codes with their scales, or float32. Codes have a scale for
    their inputs where the form's activations are static."""

Activations = Literal["none", "int8", "int8-static", "fp8"]
"""What a linear layer rounds its inputs to: token by token, or by one scale of the layer's."""
STATIC: Activations = "int8-static"
IN_WORDS: Mapping[Activations, str] = {
    "none": "float inputs",
    "int8": "inputs rounded to int8 token by token",
    STATIC: "inputs rounded to int8 by a scale of the layer's",
}


@dataclass(frozen=True)
class Form:
    """What a kernel must know of a weight to say whether it takes it.

    Attributes:
        rows, columns: N and K.
        activations: what the profile rounds the inputs to.
        dtype: type of activations, by torch's name: `bfloat16`, `float16` or `float32`.
    """

    rows: int
    columns: int
    precision: Precision
    activations: Activations = "none"
    dtype: str = "bfloat16"

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        size = self.precision.group_size
        return self.columns if size < 0 else size

    def __str__(self) -> str:
        rounded = "" if self.activations == "none" else f", inputs {self.activations}"
        return f"{self.precision} [{self.rows}, {self.columns}]{rounded}, {self.dtype}"


def why_not_int8_by_row(form: Form, *activations: Activations) -> str | None:
    """Why a form is not int8 with one scale for each row and such inputs, or None if it is."""
    if form.precision.dtype != "int8" or form.activations not in activations:
        return f"it takes int8 weights and {' or '.join(IN_WORDS[each] for each in activations)}"
    if not form.precision.symmetric or form.group != form.columns:
        return "it takes symmetric weights with one scale for each row"
    return None


class Layer(ABC):
    """A linear layer's weight on a device.

    Attributes:
        rows: N.
    """

    rows: int

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Multiply x [M, K] by the transposed weight; gives [M, N] of x's type.

        It reads no value of a tensor on the host, so it runs on fake tensors and can be captured.
        """

    @property
    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that it holds on the device."""


class ExpertLayers(ABC):
    """The weights of all experts of a layer on a device."""

    @abstractmethod
    def __call__(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Add up the weighted outputs of the experts that each token is routed to.

        Args:
            x: [T, H].
            chosen: numbers of the experts of each token, int64 [T, K].
            weights: their weights, of x's type [T, K].

        Returns:
            [T, H] of x's type.
        """

    @property
    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that it holds on the device."""


Place = Callable[["Tensor"], "Tensor"]
"""Copies a tensor from the host to the device."""
Read = Callable[[], "Matrix"]
"""Reads a weight from the bundle."""


@dataclass(frozen=True)
class Kernel:
    """A row of the table of linear kernels.

    Attributes:
        name: the operator that it is for, as torch names it, e.g. `aten::_weight_int4pack_mm`.
        why_not: why it does not take weights of a form, or None if it does.
        pack: makes a layer of the rows of one or several weights of equal forms, in their order.
        source: where its limits are documented.
    """

    name: str
    why_not: Callable[[Form], str | None]
    pack: Callable[[Matrix, Form, Place], Layer]
    source: str


@dataclass(frozen=True)
class ExpertKernel:
    """A row of the table of kernels for experts.

    Attributes:
        why_not: given the form of one expert's gate and up projection, and of its down projection.
        pack: given all experts' gate and up projections, stacked in this order [2 * M, H] each,
            and all down projections [H, M]. They are read one at a time.
    """

    name: str
    why_not: Callable[[Form, Form], str | None]
    pack: Callable[[Sequence[Read], Sequence[Read], Form, Form, Place], ExpertLayers]
    source: str
