"""Methods and settings of PEFT that cannot be merged as weights are read: why, and what helps.

The names are those of PEFT 0.21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Unsupported(NamedTuple):
    """A row of the tables: what is not merged here.

    Attributes:
        reason: why, as the end of a sentence about the adapter.
        merges: whether PEFT's `merge_and_unload` makes a plain model of it.
    """

    reason: str
    merges: bool


OF_INPUTS = "it changes what the layers are given, not their weights"
NO_MERGE = {
    "ADAPTION_PROMPT": "it adds attention to prompts",
    "CARTRIDGE": "it is a trained cache of keys and values",
    "CPT": OF_INPUTS,
    "MULTITASK_PROMPT_TUNING": OF_INPUTS,
    "POLY": "it chooses among several adapters",
    "PREFIX_TUNING": "it is a trained cache of keys and values",
    "PROMPT_TUNING": OF_INPUTS,
    "P_TUNING": OF_INPUTS,
    "XLORA": "it weighs several adapters anew for every token",
}
"""Methods that no weights can express, by `peft_type`; PEFT merges most others."""

SETTINGS = {
    "lora_bias": Unsupported("it adds biases to layers (lora_bias)", False),
    "layer_replication": Unsupported("it repeats layers (layer_replication)", False),
    "alora_invocation_tokens": Unsupported("it is active for a part of a text (aLoRA)", False),
    "use_qalora": Unsupported("it was trained on pooled inputs (QA-LoRA)", False),
    "use_bdlora": Unsupported("its matrices are block-diagonal (BD-LoRA)", True),
    "arrow_config": Unsupported("it routes between adapters (Arrow)", False),
    "kasa_config": Unsupported("it changes the base weights (KaSA)", True),
    "monteclora_config": Unsupported("it samples its weights (MonteCLoRA)", True),
}  # fmt: skip
"""Settings of LoRA that are not merged here; unset, false or empty is."""

PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
"""Values of init_lora_weights that leave the base weights as they are."""
DERIVED_INITS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Beginnings of values that subtract the initial product from the base weights. PEFT repeats that
when it loads the adapter, or writes an adapter of the plain kind (`init_lora_weights` = true) where
`save_pretrained` is given `path_initial_model_for_weight_conversion`."""


def why_not_merged(raw: Mapping[str, Any]) -> Unsupported | None:
    """Why the adapter of this `adapter_config.json` is not merged here, or None if it is."""
    kind = raw.get("peft_type")
    if not isinstance(kind, str):
        return Unsupported("its config has no 'peft_type', so it is none of PEFT's", False)
    if kind in NO_MERGE:
        return Unsupported(f"of type {kind!r}, {NO_MERGE[kind]}", False)
    if kind != "LORA":
        return Unsupported(f"of type {kind!r}, not 'LORA'", True)
    for key, row in SETTINGS.items():
        if raw.get(key):
            return row
    start = raw.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(DERIVED_INITS):
        return Unsupported(
            f"it began by changing the base weights (init_lora_weights = {start!r})", True
        )
    if start not in PLAIN_INITS:
        return Unsupported(f"how it began is not known (init_lora_weights = {start!r})", True)
    return None
