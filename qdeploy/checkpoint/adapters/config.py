"""`adapter_config.json`: the settings that determine what an adapter makes of the weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from qdeploy.checkpoint.adapters import recipes
from qdeploy.checkpoint.adapters.unsupported import SETTINGS, Unsupported, why_not_merged
from qdeploy.errors import InputError
from qdeploy.storage.json_file import read_json
from qdeploy.storage.toml_file import fault

CONFIG = "adapter_config.json"
OTHER_TASKS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "SEQ_2_SEQ_LM")
"""Values of task_type of models that have no language model's head."""
WITHOUT_EFFECT = frozenset({
    "auto_mapping", "corda_config", "eva_config", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config",
    "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config",
    "velora_config", "bias", *SETTINGS,
})  # fmt: skip
"""Settings that do not change what trained tensors mean, and those that are checked before.
PEFT takes `fan_in_fan_out` back for linear layers, and VeLoRA is about gradients alone."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rank = Annotated[int, Field(gt=0)]
Token = Annotated[int, Field(ge=0)]
Names = str | list[str]


class AdapterConfig(BaseModel):
    """Settings of a LoRA adapter, by PEFT's names.

    Attributes:
        rank_pattern, alpha_pattern: values of r and lora_alpha for modules that match a pattern.
        target_modules, exclude_modules: see `targets`.
        modules_to_save: modules that are saved whole.
        trainable_token_indices: rows of the embedding that are saved, by the name of its module.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    r: Rank
    lora_alpha: Finite
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: dict[str, Rank] | None = None
    alpha_pattern: dict[str, Finite] | None = None
    target_modules: Names | None = None
    exclude_modules: Names | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: Names | None = None
    target_parameters: list[str] | None = None
    modules_to_save: list[str] | None = None
    trainable_token_indices: dict[str, list[Token]] | None = None
    ensure_weight_tying: bool = False
    base_model_name_or_path: str | None = None
    task_type: str | None = None

    @field_validator("trainable_token_indices", mode="before")
    @classmethod
    def _of_the_embedding(cls, given: object) -> object:
        return {"embed_tokens": given} if isinstance(given, list) else given

    @field_validator("rank_pattern", "alpha_pattern", "modules_to_save", "layers_pattern")
    @classmethod
    def _are_patterns(cls, given: Any) -> Any:
        for pattern in [given] if isinstance(given, str) else given or ():
            _compiled(pattern)
        return given

    @field_validator("target_modules", "exclude_modules")
    @classmethod
    def _is_a_pattern(cls, given: Names | None) -> Names | None:
        if isinstance(given, str):
            _compiled(given)
        return given

    def rank(self, names: Iterable[str]) -> int:
        """The rank of a module of these *names*."""
        return int(_matching(self.rank_pattern, names, self.r))

    def scale(self, names: Iterable[str]) -> float:
        """The factor of the product: alpha / r, or alpha / sqrt(r) if rank-stabilized."""
        names = tuple(names)
        rank, alpha = self.rank(names), _matching(self.alpha_pattern, names, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def read_config(file: Path, *, model: Path) -> tuple[AdapterConfig, list[str]]:
    """The settings, and warnings about settings that are not known. *model*: for fixes.

    Raises:
        CheckpointError: the file is missing or no JSON object.
        InputError: the adapter is none that can be merged.
    """
    raw = read_json(file)
    if refused := why_not_merged(raw):
        raise _refusal(refused, file, model)
    try:
        config = AdapterConfig.model_validate(raw)
    except ValidationError as error:
        key, complaint = fault(error)
        raise InputError(f"{key!r}: {complaint}", where=file) from None
    known = AdapterConfig.model_fields.keys() | WITHOUT_EFFECT
    unknown = sorted(key for key, value in raw.items() if value and key not in known)
    if not unknown:
        return config, []
    return config, [f"{CONFIG} of the adapter has settings that are ignored: {', '.join(unknown)}"]


def _refusal(refused: Unsupported, file: Path, model: Path) -> InputError:
    if refused.merges:
        fix = recipes.merge(model, file.parent)
    else:
        fix = "train a LoRA adapter without it: what it does cannot be part of weights"
    return InputError(f"the adapter cannot be merged: {refused.reason}", where=file, fix=fix)


def _matching(patterns: Mapping[str, float] | None, names: Iterable[str], default: float) -> float:
    """The value of the first pattern that a name ends with, like PEFT's `get_pattern_key`."""
    for pattern, value in (patterns or {}).items():
        if any(re.match(rf"(.*\.)?({pattern})$", name) for name in names):
            return value
    return default


def _compiled(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error:
        raise ValueError(f"not a pattern of modules: {pattern!r}") from None
