"""Huawei's Ascend NPUs, through torch_npu.

What a product has is in `_op_plugin_docs.py` of torch_npu's wheel, by operator: Atlas A2 (910B) and
A3 (910C) have all of these operators; the 310P has weights of 8 bits with inputs in float16, or
rounded to int8 by a scale of the layer's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch import runtime
from qdeploy.backends.torch.accelerators.limited import Limit, Limited
from qdeploy.backends.torch.kernels.ascend import experts
from qdeploy.backends.torch.kernels.ascend.int8 import INT8_INPUTS, STATIC_INT8_INPUTS
from qdeploy.backends.torch.kernels.ascend.weight_only import INT4, INT8
from qdeploy.backends.torch.kernels.dequantized import FLOAT
from qdeploy.backends.torch.operations import Operations
from qdeploy.backends.torch.platforms import Platform
from qdeploy.system import drivers
from qdeploy.targets import ASCEND

if TYPE_CHECKING:
    Tensor = Any

TRAINED = ("Ascend910B", "Ascend910_93")
"""How the architectures of Atlas A2 and A3 begin."""
NEEDS = "an Atlas A2 or A3"
CAUSAL = 3
"""`sparse_mode` of a mask that hides later tokens, counted from the end of the cache."""
MASK = 2048
"""Rows and columns of the mask that goes with it, whatever the lengths: true is hidden."""


def _has_all(architecture: str) -> bool:
    return architecture.startswith(TRAINED)


class Ascend(Limited):
    target = ASCEND.name
    platform = Platform(
        ASCEND, "npu", "CANN", partial(drivers.ascend, ASCEND.masks), lambda build: True,
        f"pip install 'qdeploy[{ASCEND.extras['torch-npu']}]'",
        check="`npu-smi info` must list the NPU, and no other process may hold it alone",
        package="torch-npu",
    )  # fmt: skip
    kernels = (
        FLOAT,
        Limit(INT4, _has_all, NEEDS),
        INT8,
        Limit(INT8_INPUTS, _has_all, NEEDS),
        STATIC_INT8_INPUTS,
    )
    experts = tuple(
        Limit(row, _has_all, NEEDS)
        for row in (
            experts.FLOAT,
            experts.WEIGHT_ONLY,
            experts.INT8_INPUTS,
            experts.STATIC_INT8_INPUTS,
        )
    )

    def __init__(self, device_type: str, *architectures: str) -> None:
        super().__init__(device_type, *architectures)
        self._has_all = all(map(_has_all, self.architectures))
        if not self._has_all:
            self.dtypes = ("float16",)

    def prepare(self) -> None:
        runtime.load_npu()

    def operations(self) -> Operations:
        return AscendOperations() if self._has_all else Operations()


class AscendOperations(Operations):
    """The vendor's fused norm, rotation and attention.

    Its `npu_swiglu` takes both halves in one tensor: they would have to be copied together first.
    """

    def __init__(self) -> None:
        self._masks: dict[Any, Tensor] = {}

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        import torch

        return torch.ops.npu.npu_rms_norm(x, weight, epsilon)[0]

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        import torch

        whole = (table.unsqueeze(0) for table in (x, cos, sin))
        return torch.ops.npu.npu_rotary_mul(*whole).squeeze(0)

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, causal: bool
    ) -> Tensor:
        import torch

        length, heads, size = query.shape
        several = length > 1
        found, _ = torch.ops.npu.npu_fused_infer_attention_score(
            query.transpose(0, 1).contiguous().unsqueeze(0),
            _whole(keys),
            _whole(values),
            atten_mask=self._mask(query.device) if several else None,
            actual_seq_lengths_kv=[keys.shape[1]],
            num_heads=heads,
            num_key_value_heads=keys.shape[0],
            scale=size**-0.5,
            input_layout="BNSD",
            sparse_mode=CAUSAL if several else 0,
        )
        return found.squeeze(0).transpose(0, 1)

    def _mask(self, device: Any) -> Tensor:
        import torch

        if device not in self._masks:
            numbers = torch.arange(MASK, device=device)
            self._masks[device] = numbers > numbers.unsqueeze(1)
        return self._masks[device]


def _whole(cached: Tensor) -> Tensor:
    """The buffer [1, heads, capacity, D] that [heads, S, D] is the beginning of.

    The operator takes contiguous tensors with the length beside them; a copy would cost as much as
    the attention.
    """
    heads, _, size = cached.shape
    return cached.as_strided((1, heads, cached.stride(0) // size, size), (1, *cached.stride()))
