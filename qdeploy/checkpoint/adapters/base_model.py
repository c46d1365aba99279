"""The model that an adapter says it was trained on, compared with the one that is given.

Both names are hints: folders are called anything, and the tensors' shapes decide. Only names of
published models say more, since their shapes are known.
"""

from __future__ import annotations

import re

from qdeploy.architectures.config import ModelConfig
from qdeploy.checkpoint.hub_cache import hub_id_of
from qdeploy.checkpoint.published.names import Variant, variant

STORED = re.compile(
    r"[-_](?:unsloth|bnb|[48]-?bit|nf4|awq|gptq(?:-int[48])?|int[48]|fp8|bf16|fp?16|hf|"
    r"w[48]a(?:8|16)|quantized|dynamic|unquantized|mlx)$",
    re.IGNORECASE,
)
"""Last part of a name that says how the same weights are stored."""
KEYS = (
    "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_experts",
)  # fmt: skip


def published(name: str) -> Variant | None:
    """The published model that a hub id or a path means, or None."""
    parts = [part for part in re.split(r"[/\\]", name.rstrip("/\\")) if part]
    cached = next(filter(None, map(hub_id_of, parts)), None)
    last = (cached or (parts[-1] if parts else "")).rpartition("/")[2]
    while (shorter := STORED.sub("", last)) != last:
        last = shorter
    return variant(last) if last.lower().startswith("qwen3") else None


def disagreement(named: str | None, name: str, config: ModelConfig) -> str | None:
    """A warning where an adapter of the model *named* is given with another one; or None.

    *name* and *config* are those of the model that is given.
    """
    expected = published(named) if named else None
    if not expected:
        return None
    said = f"the adapter was trained on {named} by its adapter_config.json"
    for key in KEYS:
        wanted, found = expected.numbers.get(key), getattr(config, key)
        if wanted and found != wanted:
            return f"{said}, whose {key} is {wanted}; that of this model is {found}"
    given = published(name)
    if given and given.hub_id.removesuffix("-FP8") != expected.hub_id.removesuffix("-FP8"):
        return f"{said}, and is merged into {name}"
    return None
