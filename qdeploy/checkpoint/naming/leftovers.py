"""Stored tensors that no decoder reads: buffers, heads of other tasks, state of a training run."""

from __future__ import annotations

import re
from typing import NamedTuple


class Leftover(NamedTuple):
    """A row of the table.

    Attributes:
        pattern: is searched in the stored name.
        reason: why it is not read, which plans show.
        warns: whether the user should know, since it does something elsewhere.
    """

    pattern: str
    reason: str
    warns: bool = False


LEFTOVERS = (
    Leftover(r"rotary_emb\.\w*(inv_freq|cos_cached|sin_cached)$", "computed from config.json"),
    Leftover(r"attn\.(bias|masked_bias)$", "a causal mask, which is computed"),
    Leftover(r"(^|\.)position_ids$", "positions, which are counted"),
    Leftover(r"attn\.(\w+\.)?(q|k|v|kv|prob|softmax)_(scale|zero_point)$",
             "for a quantized cache or quantized attention"),
    Leftover(r"\.(input|output)(_global)?_(scale|zero_point)$", "for quantized activations"),
    Leftover(r"_extra_state$", "state of a training library"),
    Leftover(r"^(optimizer|lr_scheduler|scheduler|ema)\.", "state of a training run"),
    Leftover(r"(^|\.)(v_head|value_head|critic)\.", "the value head of a training run", warns=True),
    Leftover(r"^(score|classifier|qa_outputs)\.", "the head of another task", warns=True),
    Leftover(r"(^|\.)(mtp|nextn|eagle|medusa_head)\b", "it drafts tokens", warns=True),
    Leftover(r"^(model\.)?(visual|vision\w*|audio\w*|multi_modal\w*)\.", "it reads images or sound",
             warns=True),
)  # fmt: skip
"""The first row that matches counts."""
NO_SUCH_PART = Leftover("", "the architecture has no such part", warns=True)
"""What is outside of the layers and in no row."""


def find_leftover(name: str) -> Leftover | None:
    """The row of the table for the tensor stored as *name*, or None."""
    return next((row for row in LEFTOVERS if re.search(row.pattern, name)), None)
