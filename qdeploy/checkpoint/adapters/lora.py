"""LoRA: W + scale * B @ A, as `peft/tuners/lora/layer.py` merges it (PEFT 0.21)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.adapters.config import AdapterConfig
from qdeploy.checkpoint.adapters.factors import Factor
from qdeploy.checkpoint.adapters.parts import Misfit, Parts
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows

ONE_RUN = "take adapter_config.json and adapter_model.safetensors from the same training run"
LINEAR = ("linear", "router", "lm_head", "score")
"""Roles of the weights that are linear layers for PEFT."""


class Changed(Source):
    """A weight that an adapter makes of another one.

    Attributes:
        base: the other.
    """

    base: Source

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def why_not(self) -> str | None:
        return self.base.why_not()

    def why_not_codes(self) -> str | None:
        """Codes that are stored are those of the weight before the change."""
        stored = self.base.precision or self.base.why_not_codes()
        return "the adapter changes the weight" if stored else None

    def forget(self, files: Files, start: int, stop: int) -> None:
        self.base.forget(files, start, stop)
        for tensor in {*self.tensors} - {*self.base.tensors}:
            files[tensor.file].forget(tensor.name)


@dataclass(frozen=True)
class Merged(Changed):
    """A weight [N, K] with the product of two factors added to it.

    Attributes:
        a: [r, K].
        b: [N, r].
    """

    base: Source
    a: Factor
    b: Factor
    scale: float

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (*self.base.tensors, self.a.tensor, self.b.tensor)

    def reader(self, files: Files) -> ReadRows:
        import numpy as np

        read_base = self.base.reader(files)
        a = self.a.read(files)
        a *= np.float32(self.scale)

        def read(start: int, stop: int, out: Floats) -> None:
            read_base(start, stop, out)
            b = self.b.read(files, start, stop)
            # einsum instead of BLAS's @: BLAS threads would compete with the calling threads, and
            # the last bits of its result depend on how the rows are split into blocks
            out += np.einsum("nr,rk->nk", b, a)

        return read


def merge_layer(
    parts: Parts, base: Source | None, role: str | None, config: AdapterConfig
) -> Merged:
    """The weight of a linear layer, or of the embedding, with its low-rank update.

    Raises:
        Misfit: the module is neither; a half is missing or has another shape.
    """
    if base is None or len(base.shape) != 2:
        raise Misfit(f"the model has no linear layer {parts.module!r}")
    if parts.of_embedding and role == "embedding":
        return _merge_embedding(parts, base, config)
    if parts.of_embedding or role not in LINEAR:
        kind = "embedding" if parts.of_embedding else "linear layer"
        raise Misfit(f"the model has no {kind} {parts.module!r}")
    return _merge_linear(parts, base, config)


def _merge_linear(parts: Parts, base: Source, config: AdapterConfig) -> Merged:
    """A linear layer: A is stored as [r, K], B as [N, r]."""
    rows, columns = base.shape
    rank = _rank(parts, config, parts.tensors.get("lora_A"))
    a = parts.need("lora_A", (rank, columns))
    b = parts.need("lora_B", (rows, rank))
    return Merged(base, Factor(a), Factor(b), config.scale(parts.names))


def _merge_embedding(parts: Parts, base: Source, config: AdapterConfig) -> Merged:
    """An embedding [V, H], whose transpose PEFT adapts: A is [r, V], B is [H, r]."""
    rows, columns = base.shape
    rank = _rank(parts, config, parts.tensors.get("lora_embedding_A"))
    a = parts.need("lora_embedding_A", (rank, rows))
    b = parts.need("lora_embedding_B", (columns, rank))
    left, right = Factor(a, transposed=True), Factor(b, transposed=True)
    return Merged(base, right, left, config.scale(parts.names))


def _rank(parts: Parts, config: AdapterConfig, a: TensorInfo | None) -> int:
    """The rank by the config, which that of the first factor *a* has to be."""
    rank = config.rank(parts.names)
    if a is not None and a.shape[:1] != (rank,):
        key = "r" if rank == config.r else "rank_pattern"
        raise Misfit(
            f"{a.name!r} has rank {a.shape[0]}, and adapter_config.json says {key} {rank}", ONE_RUN
        )
    return rank
