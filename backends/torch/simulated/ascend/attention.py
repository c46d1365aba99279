"""Attention to a cache: `npu_fused_infer_attention_score`, without pages and quantized caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdeploy.backends.torch.simulated.ascend import masks
from qdeploy.backends.torch.simulated.ascend.products import A2_A3, require_product
from qdeploy.backends.torch.simulated.checks import require, told
from qdeploy.backends.torch.simulated.chips import Chip

ATTENTION = "npu_fused_infer_attention_score"
LAYOUTS = ("BNSD", "BSND", "BSH")
"""Orders of batch, heads (N), tokens (S) and values (D); H is heads by values."""
MOST_HEADS = 256
LARGEST_HEAD = 512
MOST_SHARED = 64
"""Queries' heads that share one of the keys'."""
HEAD_STEP = 16
LARGEST_TOKEN = 65535
"""Heads by values of a token, where they lie together."""
UNLIMITED = 2147483647


def fused_infer_attention_score(
    chip: Chip, query: Any, key: Any, value: Any, *, atten_mask: Any = None,
    actual_seq_lengths: Sequence[int] | None = None,
    actual_seq_lengths_kv: Sequence[int] | None = None, num_heads: int = 1, scale: float = 1.0,
    pre_tokens: int = UNLIMITED, next_tokens: int = UNLIMITED, input_layout: str = "BSH",
    num_key_value_heads: int = 0, sparse_mode: int = 0, inner_precise: int = 0, **others: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Give softmax(scale * query * key) * value in the query's layout, and an empty tensor.

    Keys and values are seen up to their actual lengths, one for each of the batch, or one for all.
    Results of queries beyond their actual lengths are zeros. What masks hide is in `masks`.
    """
    require_product(chip, ATTENTION, A2_A3)
    require(not others, ATTENTION, f"the simulation does not have {', '.join(others)}")
    require(input_layout in LAYOUTS, ATTENTION, f"the simulation has no layout {input_layout}")
    shared = num_key_value_heads or num_heads
    _check_tensors(input_layout, query, key, value)
    queries = _heads(query, input_layout, num_heads)
    keys, values = (_heads(t, input_layout, shared) for t in (key, value))
    _check_sizes(input_layout, queries, keys, values)
    batch, _, count, _ = queries.shape
    own = _lengths("actual_seq_lengths", actual_seq_lengths, batch, count)
    seen = _lengths("actual_seq_lengths_kv", actual_seq_lengths_kv, batch, keys.shape[2])
    limits = pre_tokens >= keys.shape[2] and next_tokens >= keys.shape[2]
    require(limits or atten_mask is None, ATTENTION, "the simulation has no band of tokens")
    mode = sparse_mode if count > 1 else masks.OWN
    mask = masks.checked(ATTENTION, atten_mask, mode, (batch, count, keys.shape[2]))
    made = queries.new_zeros(queries.shape)
    for i in range(batch):
        hidden = masks.hidden(mask, mode, i, own[i], seen[i])
        weights = _weights(queries[i, :, : own[i]], keys[i, :, : seen[i]], scale, hidden)
        if inner_precise & 2:  # rows that see nothing are zeros
            weights = weights.nan_to_num(0)
        repeated = values[i, :, : seen[i]].float().repeat_interleave(num_heads // shared, 0)
        made[i, :, : own[i]] = (weights @ repeated).to(made.dtype)
    order = (0, 1, 2, 3) if input_layout == "BNSD" else (0, 2, 1, 3)
    return made.permute(order).reshape(query.shape), query.new_empty(0).float()


def _weights(queries: Any, keys: Any, scale: float, hidden: Any) -> Any:
    """What each query takes of each key: float32 [heads, queries, keys]."""
    repeated = keys.float().repeat_interleave(queries.shape[0] // keys.shape[0], 0)
    scores = queries.float() @ repeated.mT * scale
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores.softmax(-1)


def _check_tensors(layout: str, query: Any, key: Any, value: Any) -> None:
    import torch

    tensors = query, key, value
    require(
        query.dtype in (torch.float16, torch.bfloat16)
        and all(t.dtype == query.dtype and t.dim() == len(layout) for t in tensors), ATTENTION,
        f"expected {layout} of float16 or bfloat16, got {', '.join(map(told, tensors))}",
    )  # fmt: skip
    require(
        all(t.is_contiguous() for t in tensors), ATTENTION,
        f"query, key and value are contiguous, got strides {[t.stride() for t in tensors]}",
    )  # fmt: skip


def _heads(tensor: Any, layout: str, heads: int) -> Any:
    """The tensor as [B, N, S, D]."""
    if layout == "BSH":
        require(
            tensor.shape[2] % heads == 0, ATTENTION, f"{told(tensor)} is not {heads} heads wide"
        )
        tensor = tensor.unflatten(2, (heads, -1))
    found = tensor if layout == "BNSD" else tensor.transpose(1, 2)
    require(found.shape[1] == heads, ATTENTION, f"{told(tensor)} does not have {heads} heads")
    return found


def _check_sizes(layout: str, queries: Any, keys: Any, values: Any) -> None:
    batch, heads, count, size = queries.shape
    shared = keys.shape[1]
    require(
        keys.shape == values.shape and (keys.shape[0], keys.shape[3]) == (batch, size), ATTENTION,
        f"query [{batch}, {heads}, {count}, {size}] does not go with key {[*keys.shape]} and "
        f"value {[*values.shape]}",
    )  # fmt: skip
    require(
        heads % shared == 0 and heads // shared <= MOST_SHARED and heads <= MOST_HEADS, ATTENTION,
        f"{heads} heads do not share {shared}: at most 256, a multiple, and 64 to each",
    )  # fmt: skip
    require(
        size <= LARGEST_HEAD and (count == 1 or size % HEAD_STEP == 0), ATTENTION,
        f"heads of {size} are above 512, or no multiple of 16",
    )  # fmt: skip
    together = layout != "BNSD" and count > 1
    require(
        not together or heads * size < LARGEST_TOKEN, ATTENTION,
        f"{heads} heads of {size} do not fit a token of {layout}",
    )  # fmt: skip


def _lengths(what: str, given: Sequence[int] | None, batch: int, full: int) -> list[int]:
    if given is None:
        return [full] * batch
    lengths = [int(length) for length in given]
    require(
        len(lengths) == 1 or len(lengths) >= batch, ATTENTION,
        f"{what} has {len(lengths)} lengths for a batch of {batch}",
    )  # fmt: skip
    require(
        all(0 <= length <= full for length in lengths), ATTENTION,
        f"{what} {lengths} are not within 0 to {full}",
    )  # fmt: skip
    return (lengths * batch)[:batch]
