"""Weights that are not those that config.json describes: why that may be, and what helps."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

Shape = tuple[int, ...]

SAME = "take config.json and the weights from the same model, and the same step of its training"
HEAD = "lm_head"
NO_HEAD = (
    "set tie_word_embeddings to true in config.json, if the head is the embedding; else give a "
    "checkpoint that has its head"
)
"""Transformers would draw the head at random."""
GATHER = (
    "gather the weights that DeepSpeed has spread over its processes: run its zero_to_fp32.py, or "
    "train with stage3_gather_16bit_weights_on_model_save"
)


class Shapes(NamedTuple):
    """The shape that a weight has, and the one that config.json asks for."""

    held: Shape
    asked: Shape

    def __str__(self) -> str:
        return f"{list(self.held)}, not {list(self.asked)}"


class Sign(NamedTuple):
    """A row of the table: a pattern of the names of tensors, and what to do about such tensors."""

    pattern: re.Pattern[str]
    fix: str


SIGNS = (
    Sign(
        re.compile(r".*\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|base_layer)\b.*"),
        "merge the adapter that the weights hold with PEFT (merge_and_unload), and give the result",
    ),
    Sign(
        re.compile(r"(.*\.)?(visual|vision_tower|vision_model|audio_tower|multi_modal_\w+)\..*"),
        "give a model of text alone: these are parts for images or sound",
    ),
    Sign(
        re.compile(r".*\.experts\.\w+_(scale|scale_inv|scales|blocks)"),
        "give the float checkpoint that this one was made from, or one in which each expert is "
        "stored by itself: these are quantized in stacks",
    ),
    Sign(
        re.compile(r".*\.(qweight|qzeros|g_idx|weight_packed|weight_scale\w*|absmax|SCB)"),
        "give these weights the config.json that belongs to them, with its quantization_config",
    ),
    Sign(
        re.compile(r".*\.(scales|biases)"),
        "give the checkpoint that this one was made from: MLX has quantized it",
    ),
    Sign(
        re.compile(r".*\.(qkv_proj|query_key_value|linear_qkv|linear_fc1|gate_up_proj)\..*"),
        "give the checkpoint as transformers saves it: this one is laid out for another library",
    ),
    Sign(
        re.compile(r"(.*\.)?(v_head|value_head|medusa_head|summary|classifier)\..*"),
        "save the language model alone, without the head that its training added",
    ),
)
"""The first row of which a pattern matches an unexpected tensor counts."""


def find_fix(
    missing: Collection[str], unexpected: Collection[str], wrong: Mapping[str, Shapes]
) -> str:
    """What to do about weights that are *missing*, *unexpected*, or of a *wrong* shape."""
    if any(0 in shapes.held for shapes in wrong.values()):
        return GATHER
    if prefix := _prefix(missing, unexpected):
        return f"save the weights without {prefix!r} before their names"
    for sign in SIGNS:
        if any(sign.pattern.fullmatch(name) for name in unexpected):
            return sign.fix
    if wrong and not missing and not unexpected and (rows := _vocabulary(wrong)):
        return f"set vocab_size to {rows} in config.json, or {SAME}"
    if not wrong and [name.rpartition(".")[0] for name in missing] == [HEAD]:
        return NO_HEAD
    return SAME


def _prefix(missing: Collection[str], unexpected: Collection[str]) -> str | None:
    """What stands before the names of all *missing* tensors among the *unexpected* ones."""
    first, names = next(iter(missing), None), set(unexpected)
    if first is None:
        return None
    prefixes = (name.removesuffix(first) for name in unexpected if name.endswith(f".{first}"))
    return next((p for p in prefixes if all(p + name in names for name in missing)), None)


def _vocabulary(wrong: Mapping[str, Shapes]) -> int | None:
    """Rows of the embedding, where the number of tokens is all that differs."""
    of_tokens = all(name.endswith(("embed_tokens.weight", "lm_head.weight")) for name in wrong)
    same_width = all(shapes.held[1:] == shapes.asked[1:] for shapes in wrong.values())
    rows = {shapes.held[0] for shapes in wrong.values()}
    return rows.pop() if of_tokens and same_width and len(rows) == 1 else None
