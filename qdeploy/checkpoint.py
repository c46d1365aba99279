"""Facts about a checkpoint, from `config.json` and safetensors headers only."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qdeploy.errors import CheckpointError
from qdeploy.strict import fault
from qdeploy.tensors import TensorInfo, read_json, read_tensors

QWEN3 = ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM")
"""Architectures that qdeploy knows by heart. Others go through a general exporter, by name."""

SIDECARS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "chat_template.jinja",
)  # fmt: skip
"""Files that travel from the checkpoint into every bundle as they are, where they exist."""
REQUIRED_SIDECARS = ("config.json", "tokenizer.json", "tokenizer_config.json")

Positive = Field(gt=0, le=2**31)


class Architecture(BaseModel):
    """The part of `config.json` that qdeploy relies on; names are the file's own.

    `head_dim` defaults to hidden_size / num_attention_heads only where the file leaves it out:
    in Qwen3 it is independent of both.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    architectures: tuple[str, ...] = Field(min_length=1)
    model_type: str
    hidden_size: int = Positive
    num_hidden_layers: int = Positive
    num_attention_heads: int = Positive
    num_key_value_heads: int = Positive
    head_dim: int = Positive
    vocab_size: int = Positive
    max_position_embeddings: int = Positive
    intermediate_size: int | None = None
    tie_word_embeddings: bool = False
    rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = None
    num_experts: int | None = None
    num_experts_per_tok: int | None = None
    moe_intermediate_size: int | None = None
    quantization_config: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, raw: dict[str, Any]) -> dict[str, Any]:
        filled = dict(raw)
        heads = filled.get("num_attention_heads")
        if filled.get("num_key_value_heads") is None:
            filled["num_key_value_heads"] = heads
        hidden = filled.get("hidden_size")
        if filled.get("head_dim") is None and isinstance(hidden, int) and isinstance(heads, int):
            filled["head_dim"] = hidden // max(heads, 1)
        # transformers 5 writes both under one key, 4 and the published checkpoints apart
        rope = filled.get("rope_parameters")
        if isinstance(rope, dict):
            filled.setdefault("rope_theta", rope.get("rope_theta"))
            if rope.get("rope_type", "default") != "default":
                filled.setdefault("rope_scaling", rope)
        return filled

    @property
    def name(self) -> str:
        return self.architectures[0]

    @property
    def is_moe(self) -> bool:
        return bool(self.num_experts)

    def kv_elements_per_token(self) -> int:
        """Elements of the key-value cache that one token adds, all layers together."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim


@dataclass(frozen=True)
class Checkpoint:
    """A Hugging Face directory, described without reading a weight.

    Attributes:
        name: what the user called it: an embedded name, a hub id or a folder's name.
        folder: the directory on disk.
        config: the parts of `config.json` that matter.
        tensors: every tensor of the headers.
    """

    name: str
    folder: Path
    config: Architecture
    tensors: tuple[TensorInfo, ...] = field(repr=False)

    @cached_property
    def weights(self) -> tuple[TensorInfo, ...]:
        """The tensors that count as parameters.

        Left out are the scales of quantized ones, and an lm_head that is tied to the embedding
        but stored all the same, as in the hub's Qwen3-0.6B.
        """
        tied = "lm_head.weight" if self.config.tie_word_embeddings else None
        return tuple(
            t for t in self.tensors if t.name != tied and not t.name.endswith("_scale_inv")
        )

    @cached_property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(t.numel for t in self.weights)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all weights as stored."""
        return sum(t.nbytes for t in self.tensors)

    def sidecars(self) -> list[str]:
        """Names of the sidecar files that this checkpoint has."""
        return [name for name in SIDECARS if (self.folder / name).is_file()]

    def size_of(self, sidecar: str) -> int:
        """Bytes of a sidecar file."""
        return (self.folder / sidecar).stat().st_size

    def read_config(self) -> dict[str, Any]:
        """The whole `config.json`."""
        return read_json(self.folder / "config.json")

    def weight_files(self) -> list[str]:
        return sorted({t.file for t in self.tensors})

    def files(self) -> dict[str, Path]:
        """Every file that makes up the model, sidecars and weights, by its name."""
        return {name: self.folder / name for name in (*self.sidecars(), *self.weight_files())}


def read(folder: Path, *, name: str | None = None) -> Checkpoint:
    """Read the facts of the checkpoint in *folder*.

    Raises:
        CheckpointError: what is missing or does not hold, with the file.
    """
    if not folder.is_dir():
        raise CheckpointError("no such directory", where=folder)
    raw = read_json(folder / "config.json")
    try:
        config = Architecture.model_validate(raw)
    except ValidationError as error:
        key, complaint = fault(error)
        names = raw.get("architectures")
        other = names[0] if isinstance(names, list) and names and names[0] not in QWEN3 else None
        of = "of a Qwen3 model" + (f" but of {other}" if other else "")
        raise CheckpointError(
            f"not the config {of}: {key or 'config'!r}: {complaint}",
            where=folder / "config.json",
        ) from None
    for sidecar in REQUIRED_SIDECARS:
        if not (folder / sidecar).is_file():
            raise CheckpointError(
                f"{sidecar} is missing", where=folder, fix=f"copy {sidecar} from the original model"
            )
    return Checkpoint(name or folder.resolve().name, folder, config, read_tensors(folder))
