"""Names of an adapter's tensors: PEFT's own, and those of trainers and runtimes that differ.

base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight      as PEFT saves it
base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight   the state of a training
model.layers.0.self_attn.q_proj.lora_A.weight                       without PEFT's own prefix
base_model.model.lm_head.modules_to_save.default.weight             a module saved whole
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, NamedTuple, cast

Part = Literal[
    "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector",
    "trainable_tokens_delta", "copy", "weight", "saved", "bias", "not read",
]  # fmt: skip
"""What a tensor is in its module. `copy`: the module's own weight, which the adapter leaves as it
is; `weight`: one that takes its place; `saved`: the
same under its name in training."""

_ADAPTER = r"(?:\.(?P<adapter>(?!weight$|bias$)[^.]+))?"
PATTERNS: tuple[tuple[re.Pattern[str], Part | None], ...] = (
    (re.compile(
        r"(?P<module>.+)\.(?P<part>lora_(?:embedding_)?[AB]|lora_magnitude_vector)"
        rf"{_ADAPTER}(?:\.weight)?"
    ), None),
    (re.compile(rf"(?P<module>.+)\.token_adapter\.(?P<part>trainable_tokens_delta){_ADAPTER}"),
     None),
    (re.compile(rf"(?P<module>.+)\.token_adapter\.trainable_tokens_original{_ADAPTER}"),
     "not read"),
    (re.compile(r"(?P<module>.+)\.original_module\..+"), "not read"),
    (re.compile(rf"(?P<module>.+)\.modules_to_save{_ADAPTER}\.weight"), "saved"),
    (re.compile(rf"(?P<module>.+)\.modules_to_save{_ADAPTER}\.(?P<part>bias)"), None),
    (re.compile(r"(?P<module>.+?)\.(?:token_adapter\.)?base_layer\.weight"), "copy"),
    (re.compile(r"(?P<module>.+?)(?:\.base_layer)?\.(?P<part>weight|bias)"), None),
)  # fmt: skip
"""Names from the most special to the plainest, and the part that a pattern itself stands for."""

ANYWHERE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that torch.compile, FSDP and checkpointing of activations add at any place."""
WRAPPERS = frozenset({
    "base_model", "model", "module", "language_model", "text_model", "llm", "pretrained_model",
})  # fmt: skip
"""Names of what a language model lies in: PEFT's, those of trainers, and of larger models."""


class TensorName(NamedTuple):
    """A tensor's name, taken apart.

    Attributes:
        module: as it is stored.
        adapter: name of the adapter where several could be in one file.
    """

    module: str
    part: Part
    adapter: str | None


def parse(name: str) -> TensorName | None:
    """Take the name of a tensor apart; None where it is none of an adapter's."""
    for pattern, part in PATTERNS:
        if match := pattern.fullmatch(name):
            groups = match.groupdict()
            return TensorName(
                groups["module"], part or cast("Part", groups["part"]), groups.get("adapter")
            )
    return None


def candidates(module: str) -> list[str]:
    """Names that the module may have in the model, the most likely first."""
    parts = [part for part in module.split(".") if part not in ANYWHERE]
    found = []
    if parts[:2] == ["base_model", "model"]:
        parts = parts[2:]
    while parts:
        found.append(".".join(parts))
        if parts[0] not in WRAPPERS:
            break
        parts = parts[1:]
    return [*found, *(f"model.{name}" for name in found)]


def find_module(module: str, known: Collection[str]) -> str | None:
    """The module of the model that *module* of an adapter's file means, or None."""
    return next((name for name in candidates(module) if name in known), None)
