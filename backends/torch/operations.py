"""The operations between linear layers, in torch's own operators.

A vendor with fused ones overrides them in its accelerator's file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Tensor = Any


class Operations:
    """Norms, rotation, activation and attention on tensors of one device.

    Letters: L tokens of this pass, S tokens of the cache that are attended to, D size of a head.
    """

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Divide by the root mean square over the last axis, then multiply by *weight*."""
        import torch.nn.functional as F  # noqa: N812

        return F.rms_norm(x, weight.shape, weight, epsilon)

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate heads [L, heads, D] by tables [L, 1, D], in halves as Qwen3 and Llama do."""
        import torch

        first, second = x.chunk(2, -1)
        return x * cos + torch.cat((-second, first), -1) * sin

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up."""
        import torch.nn.functional as F  # noqa: N812

        return F.silu(gate) * up

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, causal: bool
    ) -> Tensor:
        """Attend to the cache; gives [L, heads, D].

        Keys that several heads share are never repeated in memory.

        Args:
            query: [L, heads, D].
            keys: [kv heads, S, D].
            values: [kv heads, S, D].
            mask: true where a query attends, [L, S], which is up to its own token; a vendor may
                have a way of its own for that. None without one.
            causal: query i of L attends to the first i + 1 of S = L, which kernels have a way for.
        """
        import torch.nn.functional as F  # noqa: N812

        length, heads, size = query.shape
        kv, seen, _ = keys.shape
        shared = heads // kv
        if length == 1 and mask is None:
            # heads as queries of the one key head that they share: eight times as fast on a CPU
            asked = query.view(1, kv, shared, size)
            found = F.scaled_dot_product_attention(asked, keys[None], values[None])
            return found.view(1, heads, size)
        asked = query.view(length, kv, shared, size).permute(1, 2, 0, 3)
        keys, values = (x[:, None].expand(kv, shared, seen, size) for x in (keys, values))
        found = F.scaled_dot_product_attention(
            asked, keys, values, attn_mask=mask, is_causal=causal
        )
        return found.permute(2, 0, 1, 3).reshape(length, heads, size)
