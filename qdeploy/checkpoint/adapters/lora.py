"""A LoRA adapter saved by PEFT, merged into weights as they are read: W + scale * B @ A.

Names and scaling follow `peft/tuners/lora` (PEFT 0.20). Adapters that cannot be expressed as this
sum are refused, because a partially applied adapter gives a different model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, ValidationError

from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.headers import TensorInfo, read_header
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import FLOATS
from qdeploy.errors import CheckpointError, InputError
from qdeploy.storage.json_file import read_json
from qdeploy.storage.toml_file import fault

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rank = Annotated[int, Field(gt=0)]

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PLACE = "adapter/"
"""What the names of its files begin with among those of the checkpoint."""
LINEAR = ("linear", "router", "lm_head")
"""Roles of the weights that an adapter may change."""
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
class Merged(Source):
    """A weight with an update added to it: W + scale * B @ A.

    Attributes:
        base: where W [N, K] is.
        a, b: the factors, [r, K] and [N, r].
    """

    base: Source
    a: TensorInfo
    b: TensorInfo
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (*self.base.tensors, self.a, self.b)

    def why_not(self) -> str | None:
        return self.base.why_not()

    def reader(self, files: Files) -> ReadRows:
        import numpy as np

        read_base = self.base.reader(files)
        a = _read(files, self.a)
        a *= np.float32(self.scale)
        b = _read(files, self.b)

        def read(start: int, stop: int, out: Floats) -> None:
            read_base(start, stop, out)
            # einsum instead of BLAS's @: BLAS threads would compete with the calling threads, and
            # the last bits of its result depend on how the rows are split into blocks
            out += np.einsum("nr,rk->nk", b[start:stop], a)

        return read

    def forget(self, files: Files, start: int, stop: int) -> None:
        self.base.forget(files, start, stop)


@dataclass(frozen=True)
class Adapter:
    """An adapter, described without reading its values.

    Attributes:
        folder: the directory on disk.
        tensors: by module and half, `A` or `B`.
    """

    folder: Path
    config: AdapterConfig
    tensors: Mapping[str, Mapping[str, TensorInfo]]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def files(self) -> dict[str, Path]:
        """Its files by the names that plans give them: `adapter/*`."""
        return {f"{PLACE}{name}": self.folder / name for name in (CONFIG, WEIGHTS)}

    def merge(
        self, sources: Mapping[str, Source], described: Mapping[str, Tensor]
    ) -> dict[str, Source]:
        """The sources of a model's weights with the updates; *described*: what each weight does.

        An lm_head that is tied to the embedding is not among *sources*: an update of it would
        change the embedding too.

        Raises:
            InputError: it is an adapter for another model; the error names the tensor.
        """
        if not self.tensors:
            raise self._misfit("there are no tensors")
        merged = dict(sources)
        for module, halves in sorted(self.tensors.items()):
            name = f"{module}.weight"
            base = sources.get(name)
            if base is None or len(base.shape) != 2 or described[name].role not in LINEAR:
                raise self._misfit(f"the model has no linear layer {module!r} of its own")
            rank = self.config.rank(module)
            for half, shape in (("A", (rank, base.shape[1])), ("B", (base.shape[0], rank))):
                if half not in halves:
                    raise self._misfit(f"{_name_of(module, half)!r} is missing")
                if halves[half].shape != shape:
                    found = list(halves[half].shape)
                    raise self._misfit(f"{_name_of(module, half)!r} is {found}, not {list(shape)}")
            merged[name] = Merged(base, halves["A"], halves["B"], self.config.scale(module))
        return merged

    def _misfit(self, problem: str) -> InputError:
        return InputError(
            f"the adapter does not fit: {problem}",
            where=self.folder / WEIGHTS,
            fix="use it with the model that it was trained on",
        )


def read_adapter(folder: Path) -> Adapter:
    """Describe the adapter in *folder*.

    Raises:
        CheckpointError: one of its files is missing or cannot be read.
        InputError: it is none that can be merged.
    """
    if not (folder / WEIGHTS).is_file() and (folder / PICKLED).is_file():
        raise InputError(
            f"only pickled weights ({PICKLED}), which can run code when loaded",
            where=folder,
            fix="save the adapter with safe_serialization=True",
        )
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{name} is missing",
                where=folder,
                fix="give the folder of a PEFT LoRA adapter, saved with safe_serialization=True",
            )
    config = _read_config(folder / CONFIG)
    tensors: dict[str, dict[str, TensorInfo]] = {}
    for tensor in read_header(folder / WEIGHTS):
        module, half = _module_of(tensor.name, folder / WEIGHTS)
        if tensor.dtype not in FLOATS:
            raise InputError(f"tensor {tensor.name!r} is {tensor.dtype}", where=folder / WEIGHTS)
        tensors.setdefault(module, {})[half] = replace(tensor, file=PLACE + tensor.file)
    return Adapter(folder, config, tensors)


def _read(files: Files, tensor: TensorInfo) -> Floats:
    import numpy as np

    values = np.empty(tensor.shape, np.float32)
    file = files[tensor.file]
    file.read(tensor.name, 0, tensor.shape[0], values)
    if not np.isfinite(values).all():
        raise InputError(
            f"tensor {tensor.name!r} holds a value that is infinite or not a number",
            where=file.path,
        )
    return values


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


def _module_of(name: str, file: Path) -> tuple[str, str]:
    match = NAME.fullmatch(name)
    if not match:
        raise InputError(
            f"tensor {name!r} is not one half of a linear layer's LoRA (lora_A, lora_B)",
            where=file,
            fix="merge it with PEFT (merge_and_unload) and use the result",
        )
    return match["module"], match["half"]


def _name_of(module: str, half: str) -> str:
    return f"base_model.model.{module}.lora_{half}.weight"
