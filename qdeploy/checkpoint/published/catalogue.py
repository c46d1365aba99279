"""The published Qwen3 checkpoints by hub id, described by data in this package.

Their tensors follow from their configs (`qdeploy.checkpoint.weights.check`), so a plan made from
this description is exact and needs no download. An export needs the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from qdeploy.architectures.qwen3 import Qwen3
from qdeploy.architectures.qwen3_moe import Qwen3Moe
from qdeploy.architectures.table import parse_config
from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.published.layouts import layout_of
from qdeploy.checkpoint.published.names import facts, variant
from qdeploy.checkpoint.weights.check import expected_tensors
from qdeploy.errors import CheckpointError

NOWHERE = Path(os.devnull) / "published"
"""A path that cannot exist, so that reading from it by mistake fails."""


@dataclass(frozen=True)
class Published(Checkpoint):
    """A published checkpoint that is described but not on this machine.

    Attributes:
        sidecar_bytes: sizes of its sidecar files in bytes, by name.
    """

    is_here: ClassVar[bool] = False

    sidecar_bytes: Mapping[str, int] = field(repr=False, default_factory=dict, kw_only=True)

    @property
    def sidecars(self) -> Mapping[str, Path]:
        return {name: self.folder / name for name in self.sidecar_bytes}

    def size_of(self, sidecar: str) -> int:
        return self.sidecar_bytes.get(sidecar, 0)

    def files(self) -> dict[str, Path]:
        raise CheckpointError(
            "only its shapes are known here, not its weights",
            where=self.name,
            fix=f"hf download {self.name}, and give the folder",
        )


def find_published(name: str) -> Published | None:
    """The published checkpoint that *name* means, or None; see `published.variant` for names."""
    found = variant(name)
    if found is None:
        return None
    config = parse_config(_config(found.numbers, found.settings))
    sizes = facts()["sidecars"]
    described = Published(found.hub_id, NOWHERE, config, (), task=found.task, sidecar_bytes=sizes)
    tensors = tuple(
        stored
        for tensor, t in _held(described).items()
        for stored in _stored(tensor, t, found.settings)
    )
    return replace(described, tensors=tensors)


def _held(described: Published) -> dict[str, Tensor]:
    """The weights in the files: those of the graph, or what they are some rows of."""
    held, graph = expected_tensors(described), described.graph(None)
    for name, (base, _) in described.architecture.derived(graph).items():
        del held[name]
        held.setdefault(base, Tensor((graph.vocab_size, graph.hidden), "lm_head"))
    return held


def _stored(name: str, tensor: Tensor, settings: Mapping[str, Any] | None) -> Iterator[TensorInfo]:
    """The tensors that a weight is stored in."""
    layout = layout_of(settings if tensor.role == "linear" else None)
    return layout(name, tensor.shape, settings or {})


def _config(numbers: Mapping[str, Any], settings: Mapping[str, Any] | None) -> dict[str, Any]:
    moe = "moe_intermediate_size" in numbers
    family = Qwen3Moe if moe else Qwen3
    raw = {
        "architectures": [*family.classes],
        "model_type": family.name,
        **facts()["common"],
        **(facts()["moe"] if moe else {}),
        **numbers,
    }
    return raw | ({"quantization_config": settings} if settings else {})
