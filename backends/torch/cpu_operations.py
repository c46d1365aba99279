"""The operations between linear layers on a CPU: what torch's own ones cost too much for.

Measured on AMD Zen 5, see docs/torch.md. `rms_norm` of bfloat16 and products of two types take
paths that are not vectorized, 18 times as slow as converting first. The fused attention for CPUs
multiplies a tenth as fast as the matrix product, unless the processor has AMX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.operations import Operations
from qdeploy.system import info

if TYPE_CHECKING:
    Tensor = Any

SCORES = 1 << 19
"""Attention scores that exist at a time, of all heads: 2 MB of float32 stay in a cache."""
BLOCK = 32
"""Queries that are multiplied at a time: a multiple of this."""
AMX = "amx_bf16"
"""With these matrix units the fused attention was not measured, and is taken as it is."""


class CpuOperations(Operations):
    """Operations on a CPU's tensors; attention in blocks of queries."""

    def __init__(self) -> None:
        self._fused = AMX in info.cpu_flags()

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        import torch

        values = x.to(torch.float32, copy=True)
        root = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
        scale = (root * root).mul_(1 / x.shape[-1]).add_(epsilon).rsqrt_()
        return values.mul_(scale).to(x.dtype).mul_(weight)

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        import torch

        first, second = x.chunk(2, -1)
        return torch.addcmul(x * cos, torch.cat((-second, first), -1), sin)

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, causal: bool
    ) -> Tensor:
        """Scores are float32 as in the fused attention; weights are rounded before they are
        multiplied with values, as there.
        """
        import torch

        length, heads, size = query.shape
        if length == 1 or self._fused:
            return super().attend(query, keys, values, mask, causal=causal)
        kv, seen, _ = keys.shape
        shared = heads // kv
        asked = query.view(length, kv, shared, size).permute(1, 2, 0, 3).float() * size**-0.5
        keys = keys.float().transpose(1, 2)
        made = torch.empty_like(asked, dtype=query.dtype)
        step = min(max(1, SCORES // (heads * seen * BLOCK)) * BLOCK, length)
        later = torch.full((step, step), -torch.inf).triu_(1)
        for start in range(0, length, step):
            count = min(step, length - start)
            until = seen - length + start + count
            rows = asked.narrow(2, start, count).reshape(kv, shared * count, size)
            scores = torch.bmm(rows, keys.narrow(2, 0, until)).view(kv, shared, count, until)
            scores.narrow(3, until - count, count).add_(later[:count, :count])
            weights = scores.softmax(-1).to(query.dtype).view(kv, shared * count, until)
            found = torch.bmm(weights, values.narrow(1, 0, until))
            made.narrow(2, start, count).copy_(found.view(kv, shared, count, size))
        return made.permute(2, 0, 1, 3).reshape(length, heads, size)
