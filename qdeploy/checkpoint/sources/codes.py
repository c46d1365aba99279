"""A matrix of integer codes with scales and zero points, as AWQ, GPTQ and others store it.

    value = (code - zero point of its group) * scale of its group

This is what the methods' own libraries compute: `dequantize_gemm` of AutoAWQ, `TorchQuantLinear` of
GPTQModel, `dequantize` of compressed-tensors. They round the product to the model's type; here it
is float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.integers import Integers
from qdeploy.checkpoint.sources.scales import Scales
from qdeploy.errors import CheckpointError
from qdeploy.quantization.precision import PER_CHANNEL, DType, Precision, ScaleType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows
    from qdeploy.quantization.quantized import Quantized

SMALLEST_GROUP = 16
"""Runtimes' operators take groups of powers of two from here up."""
UNSET = -1
"""In compressed-tensors: the group of a column, where columns are in order."""
ASYMMETRIC = (
    "set in quantization_config of config.json what is there of 'sym' and 'symmetric' to false, "
    "and of 'zero_point' to true, to take the zero points as they are stored"
)
OTHER_FORMAT = "set 'checkpoint_format' of quantization_config in config.json to {!r}"
SHIFTED = {
    ("gptq", 1): OTHER_FORMAT.format("gptq_v2"),
    ("gptq", -1): OTHER_FORMAT.format("gptq"),
}
"""What helps where all zero points are that far from the middle, by the method: its two formats
differ in that."""
REQUANTIZE = (
    "qdeploy export --requantize rounds the weights again with the profile's precision; "
    "qdeploy eval measures the loss"
)


@dataclass(frozen=True)
class Codes(Source):
    """A matrix [N, K] of integer codes.

    Attributes:
        method: the quantization method's name.
        integers: the codes in offset binary: without zero points, 2^(bits-1) stands for zero.
        group: columns of a group; the last one of a row may be shorter.
        symmetric: all zero points are 2^(bits-1). Where they are stored nevertheless, that is
            checked when they are read.
        zero_points: [N, G], or None.
        order: the group of each column, [K]; None where columns are in order.
        ordered: whether the method's settings say that *order* is not the usual one.
        shape_tensor: the matrix' own N and K as data, or None.
        input_scale: one scale that the layer's inputs are rounded to int8 with, or None.
        problem: what else is wrong, in the words of `why_not`.
    """

    method: str
    integers: Integers
    scales: Scales
    group: int
    symmetric: bool
    zero_points: Integers | None = None
    order: TensorInfo | None = None
    ordered: bool = False
    shape_tensor: TensorInfo | None = None
    input_scale: TensorInfo | None = None
    problem: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.integers.rows, self.integers.columns)

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        points = self.zero_points.tensor if self.zero_points else None
        parts = (self.integers.tensor, self.scales.tensor, points, self.order)
        every = (*parts, self.shape_tensor, self.input_scale)
        return tuple(tensor for tensor in every if tensor)

    @property
    def precision(self) -> Precision:
        size = PER_CHANNEL if self.scales.groups == 1 else self.group
        dtype: DType = "int4" if self.integers.bits == 4 else "int8"
        plain = Precision(dtype=dtype, symmetric=self.symmetric)
        # unchecked: a group size that profiles cannot ask for is a reason of `why_not_codes`
        return plain.model_copy(update={"group_size": size})

    @property
    def scheme(self) -> str:
        return self.method

    @property
    def scale_type(self) -> ScaleType:
        return "float32" if self.scales.tensor.dtype == "F32" else "float16"

    def why_not(self) -> str | None:
        if self.problem:
            return self.problem
        for what, part in (
            ("codes", self.integers),
            ("scales", self.scales),
            ("zero points", self.zero_points),
        ):
            if part and (reason := part.why_not()):
                return f"has {what} that {reason} (the config says {self._settings})"
        order, columns = self.order, self.shape[1]
        if order and (order.dtype != "I32" or order.shape != (columns,)):
            return f"has {order.name} {order.dtype} {list(order.shape)}, not I32 [{columns}]"
        return None

    def why_not_codes(self) -> str | None:
        columns, size = self.shape[1], self.group
        if self.scales.groups == 1:
            return None
        if self.ordered:
            return "its columns are grouped by activation order (desc_act), not side by side"
        if columns % size:
            return f"the last group of {size} of its {columns} columns is cut short"
        if size < SMALLEST_GROUP or size & (size - 1):
            return f"runtimes take no groups of {size} columns"
        return None

    def reader(self, files: Files) -> ReadRows:
        import numpy as np

        self._check_shape(files)
        groups = self._groups(files)

        def read(start: int, stop: int, out: Floats) -> None:
            np.copyto(out, self.integers.read(files, start, stop))
            zero: Floats | np.float32 = np.float32(1 << (self.integers.bits - 1))
            scales = self.scales.read(files, start, stop)
            if self.zero_points:
                points = self._zero_points(files, self.zero_points, start, stop)
                zero = _widen(points.astype(np.float32), groups, self.group, out.shape[1])
            out -= zero
            out *= _widen(scales, groups, self.group, out.shape[1])

        return read

    def codes(self, files: Files, start: int, stop: int) -> Quantized:
        import numpy as np

        from qdeploy.quantization.quantized import Quantized

        self._check_shape(files)
        if self.order and self._groups(files) is not None and self.scales.groups > 1:
            raise CheckpointError(
                f"{self.order.name} groups columns in another order than the config's settings "
                "say ('desc_act', 'static_groups')",
                where=self._place(files),
                fix=REQUANTIZE,
            )
        codes = self.integers.read(files, start, stop)
        points = None
        if self.zero_points:
            points = self._zero_points(files, self.zero_points, start, stop)
        if self.symmetric:
            zero = np.uint8(1 << (self.integers.bits - 1))
            codes, points = (codes - zero).view(np.int8), None
        scales = self.scales.read(files, start, stop)
        if not np.isfinite(scales).all():
            raise CheckpointError(
                f"{self.scales.tensor.name} has a value that is infinite or not a number",
                where=self._place(files),
            )
        return Quantized(self.precision, codes, scales, points, self._input_scale(files))

    def _input_scale(self, files: Files) -> float | None:
        """The scale of the layer's inputs.

        Raises:
            CheckpointError: it is not one finite positive number.
        """
        stored = self.input_scale
        if not stored:
            return None
        scale = Scales(stored, rows=1, groups=1)
        wrong = f"{stored.dtype} {list(stored.shape)}"
        if not scale.why_not():
            found = float(scale.read(files, 0, 1)[0, 0])
            if 0 < found < inf:
                return found
            wrong = f"{found:g}"
        raise CheckpointError(
            f"{stored.name} is {wrong}, not one positive number, by which the layer's inputs are "
            "to be rounded",
            where=files[stored.file].path,
            fix=REQUANTIZE,
        )

    def _zero_points(
        self, files: Files, stored: Integers, start: int, stop: int
    ) -> NDArray[np.uint8]:
        """Zero points of rows, uint8 [rows, G].

        Raises:
            CheckpointError: the settings say symmetric, and they are not.
        """
        import numpy as np

        found = stored.read(files, start, stop)
        middle = 1 << (self.integers.bits - 1)
        if self.symmetric and (found != middle).any():
            wrong = int(found[found != middle][0])
            shifted = SHIFTED.get((self.method, wrong - middle)) if (found == wrong).all() else None
            raise CheckpointError(
                f"{stored.tensor.name} holds the zero point {wrong}, and the "
                f"config's settings say symmetric, which is {middle} throughout",
                where=self._place(files),
                fix=shifted or ASYMMETRIC,
            )
        return np.ascontiguousarray(found)

    def _groups(self, files: Files) -> NDArray[np.int32] | None:
        """The group of each column, int32 [K]; None where groups are side by side.

        Raises:
            CheckpointError: a column belongs to no group.
        """
        import numpy as np

        if not self.order:
            return None
        found = files[self.order.file].stored(self.order.name, np.dtype("<i4")).copy()
        if (found == UNSET).all():
            return None
        usual = np.arange(self.shape[1], dtype=np.int32) // self.group
        if np.array_equal(found, usual):
            return None
        if found.min() < 0 or found.max() >= self.scales.groups:
            raise CheckpointError(
                f"{self.order.name} names the group {int(found.max())} of {self.scales.groups}",
                where=self._place(files),
            )
        return found

    def _check_shape(self, files: Files) -> None:
        """Compare N and K that are stored as data with those of the tensors.

        Raises:
            CheckpointError: they differ.
        """
        import numpy as np

        if not self.shape_tensor:
            return
        file = files[self.shape_tensor.file]
        found = file.stored(self.shape_tensor.name, np.dtype("<i8")).tolist()
        if found != [*self.shape]:
            raise CheckpointError(
                f"{self.shape_tensor.name} says {found}, and the codes are {list(self.shape)}",
                where=file.path,
            )

    @property
    def _settings(self) -> str:
        """What shapes follow from, for messages."""
        return f"{self.integers.bits} bits, groups of {self.group}"

    def _place(self, files: Files) -> object:
        return files[self.integers.tensor.file].path


def _widen(values: Floats, groups: NDArray[np.int32] | None, size: int, columns: int) -> Floats:
    """Repeat values [rows, G] for each column of a group: [rows, columns], or [rows, 1]."""
    import numpy as np

    if values.shape[1] == 1:
        return values
    if groups is not None:
        return values[:, groups]
    return np.repeat(values, size, axis=1)[:, :columns]
