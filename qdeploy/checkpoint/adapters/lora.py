"""A LoRA adapter saved by PEFT, merged into weights as they are read: W + scale * B @ A.

Names and scaling follow `peft/tuners/lora` (PEFT 0.20). Adapters that cannot be expressed as this
sum are refused, because a partially applied adapter gives a different model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES
from qdeploy.checkpoint.sources.safetensors import TensorFile
from qdeploy.errors import InputError
from qdeploy.storage.json_file import read_json
from qdeploy.storage.toml_file import fault

Floats = NDArray[np.float32]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rank = Annotated[int, Field(gt=0)]

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight")

UNSUPPORTED = {
    "use_dora": "it also trains magnitudes (DoRA)",
    "lora_bias": "it trains biases",
    "modules_to_save": "it replaces whole modules",
    "trainable_token_indices": "it trains rows of the embedding",
    "target_parameters": "it adapts parameters that are no linear layers",
    "layer_replication": "it repeats layers",
    "alora_invocation_tokens": "it is active for a part of the text only (aLoRA)",
    "use_qalora": "it was trained on pooled inputs (QA-LoRA)",
    "use_bdlora": "its matrices are block-diagonal (BD-LoRA)",
    "arrow_config": "it routes between adapters (Arrow)",
    "kasa_config": "it changes the base weights (KaSA)",
    "monteclora_config": "it samples its weights (MonteCLoRA)",
}
"""Settings that this sum cannot express, with the reason. Unset, false or empty is supported."""
SUPPORTED_INITS = (True, False, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base weights unchanged. Others (PiSSA, OLoRA, CorDA,
LoftQ, LoRA-GA) subtract the initial product from them; PEFT can convert such adapters on saving."""


class AdapterConfig(BaseModel):
    """The settings in `adapter_config.json` that determine the sum.

    Attributes:
        rank_pattern, alpha_pattern: values of r and lora_alpha for modules that match a pattern.
    """

    r: Rank
    lora_alpha: Finite
    use_rslora: bool = False
    rank_pattern: dict[str, Rank] | None = None
    alpha_pattern: dict[str, Finite] | None = None

    def rank(self, module: str) -> int:
        return int(_matching(self.rank_pattern, module, self.r))

    def scale(self, module: str) -> float:
        """The factor of the product: alpha / r, or alpha / sqrt(r) if rank-stabilized."""
        rank, alpha = self.rank(module), _matching(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


@dataclass(frozen=True)
class Patch:
    """The factors of the update of one weight: A [r, K], scaled, and B [N, r]."""

    a: Floats
    b: Floats

    def add(self, rows: Floats, start: int) -> None:
        """Add the update to *rows*, [n, K], the rows of the weight from *start*."""
        # einsum instead of BLAS's @: BLAS threads would compete with the calling threads, and the
        # last bits of its result depend on how the rows are split into blocks
        rows += np.einsum("nr,rk->nk", self.b[start : start + len(rows)], self.a)


class Adapter:
    """An adapter for the tensors of a checkpoint."""

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Open the adapter in *folder* for the linear layers whose weights have these *shapes*.

        Raises:
            InputError: not a LoRA adapter, or not for this checkpoint; the error names the tensor.
            CheckpointError: one of its files cannot be read.
        """
        if not (folder / WEIGHTS).is_file() and (folder / PICKLED).is_file():
            raise InputError(
                f"only pickled weights ({PICKLED}), which can run code when loaded",
                where=folder,
                fix="save the adapter with safe_serialization=True",
            )
        self._config = _read_config(folder / CONFIG)
        self._file = TensorFile(folder / WEIGHTS)
        self._modules = {_module_of(name, folder / WEIGHTS) for name in self._file.tensors}
        if problem := self._misfit(shapes):
            raise InputError(
                f"the adapter does not fit: {problem}",
                where=folder / WEIGHTS,
                fix="use it with the model that it was trained on",
            )

    def patch(self, tensor: str) -> Patch | None:
        """The update of the weight *tensor*, or None.

        Raises:
            InputError: a value is infinite or NaN.
        """
        module = tensor.removesuffix(".weight")
        if module not in self._modules:
            return None
        a, b = (self._read(_name_of(module, half)) for half in "AB")
        a *= np.float32(self._config.scale(module))
        return Patch(a, b)

    def close(self) -> None:
        self._file.close()

    def _read(self, name: str) -> Floats:
        entry = self._file.tensors[name]
        values = np.empty(entry.shape, np.float32)
        self._file.read(name, 0, entry.shape[0], values)
        if not np.isfinite(values).all():
            raise InputError(
                f"tensor {name!r} holds a value that is infinite or not a number",
                where=self._file.path,
            )
        return values

    def _misfit(self, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        """The first mismatch between adapter and checkpoint, or None."""
        if not self._modules:
            return "there are no tensors"
        for module in sorted(self._modules):
            base = shapes.get(f"{module}.weight", ())
            if len(base) != 2:
                return f"the model has no linear layer {module!r} of its own"
            rank = self._config.rank(module)
            for half, shape in (("A", (rank, base[1])), ("B", (base[0], rank))):
                name = _name_of(module, half)
                entry = self._file.tensors.get(name)
                if entry is None:
                    return f"{name!r} is missing"
                if entry.shape != shape:
                    return f"{name!r} is {list(entry.shape)}, not {list(shape)}"
                if entry.dtype not in NUMPY_DTYPES:
                    return f"{name!r} is {entry.dtype}"
        return None


def _read_config(file: Path) -> AdapterConfig:
    raw = read_json(file)
    if (kind := raw.get("peft_type")) != "LORA":
        raise InputError(f"an adapter of type {kind!r}, not 'LORA'", where=file)
    unsupported = [why for key, why in UNSUPPORTED.items() if raw.get(key)]
    if raw.get("bias", "none") != "none":
        unsupported.append(UNSUPPORTED["lora_bias"])
    if (start := raw.get("init_lora_weights", True)) not in SUPPORTED_INITS:
        unsupported.append(f"it began by changing the base weights (init_lora_weights = {start!r})")
    if unsupported:
        raise InputError(
            f"the adapter cannot be merged: {unsupported[0]}",
            where=file,
            fix="merge it with PEFT (merge_and_unload) and use the result",
        )
    try:
        config = AdapterConfig.model_validate(raw)
        for pattern in [*(config.rank_pattern or ()), *(config.alpha_pattern or ())]:
            re.compile(pattern)
    except ValidationError as error:
        key, complaint = fault(error)
        raise InputError(f"{key!r}: {complaint}", where=file) from None
    except re.error as error:
        raise InputError(f"not a pattern of modules: {error.pattern!r}", where=file) from None
    return config


def _matching(patterns: Mapping[str, float] | None, module: str, default: float) -> float:
    """The value of the first pattern that *module* ends with, like PEFT's `get_pattern_key`."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _module_of(name: str, file: Path) -> str:
    match = NAME.fullmatch(name)
    if not match:
        raise InputError(
            f"tensor {name!r} is not one half of a linear layer's LoRA (lora_A, lora_B)",
            where=file,
            fix="merge it with PEFT (merge_and_unload) and use the result",
        )
    return match["module"]


def _name_of(module: str, half: str) -> str:
    return f"base_model.model.{module}.lora_{half}.weight"
