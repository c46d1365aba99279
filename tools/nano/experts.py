"""A forward of the mixture-of-experts block that suits training on a CPU.

transformers' own loops over the experts and gathers each one's tokens: many small products of
varying shape, which are slow here and which torch.compile cannot take in one piece. With eight tiny
experts it is faster to run all of them on every token, as two large products, and let the
routing weights, zero for the experts not chosen, pick the result. The function is the same.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock


def use_all(model: PreTrainedModel) -> list[nn.Module]:
    """Put this forward into every block; returns the blocks, for `imbalance`."""
    blocks = [block for block in model.modules() if isinstance(block, Qwen3MoeSparseMoeBlock)]
    for block in blocks:
        block.forward = MethodType(_forward, block)
    return blocks


def imbalance(blocks: list[nn.Module]) -> Tensor:
    """Mean over the blocks of how unevenly the last batch was routed; 1 is even.

    transformers' own function expects logits where its version 5 router gives probabilities.
    """
    values = [block.imbalance for block in blocks]
    return torch.stack(values).mean()


def _forward(self: nn.Module, hidden: Tensor) -> Tensor:
    """Hidden states [B, T, H] to [B, T, H]."""
    tokens = hidden.flatten(0, 1)
    probabilities, weights, chosen = self.gate(tokens)  # [N, E], [N, k], [N, k]
    routing = torch.zeros_like(probabilities).scatter(1, chosen, weights)  # [N, E]
    load = (routing > 0).float().mean(0) / chosen.shape[1]  # share of the tokens, sums to 1
    self.imbalance = (load * probabilities.mean(0)).sum() * len(load)

    gate_up = self.experts.gate_up_proj  # [E, 2 * width, H]
    inner = nn.functional.linear(tokens, gate_up.flatten(0, 1)).unflatten(-1, gate_up.shape[:2])
    gate, up = inner.chunk(2, dim=-1)  # [N, E, width] each
    mixed = nn.functional.silu(gate) * up * routing.to(gate.dtype).unsqueeze(-1)
    down = self.experts.down_proj.transpose(0, 1).flatten(1)  # [H, E * width]
    return nn.functional.linear(mixed.flatten(1), down).view_as(hidden)
