"""The published Qwen3 checkpoints by hub id, described by data in this package.

Their tensors follow from their configs (`qdeploy.checkpoint.weights.check`), so a plan made from
this description is exact and needs no download. An export needs the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from qdeploy import models
from qdeploy.architectures.qwen3 import Qwen3
from qdeploy.architectures.qwen3_moe import Qwen3Moe
from qdeploy.architectures.table import parse_config
from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint import hub
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.fp8 import E4M3, SCALE_SUFFIX, scale_shape
from qdeploy.checkpoint.weights.check import expected_tensors
from qdeploy.errors import CheckpointError, HubError, did_you_mean
from qdeploy.storage.toml_file import read_shipped_toml

NAME = re.compile(
    r"(?:Qwen/)?(?:Qwen3-)?(?P<size>[\d.]+B(?:-A\d+B)?)"
    r"(?P<tuning>-Base|-Instruct-2507|-Thinking-2507)?(?P<fp8>-FP8)?",
    re.IGNORECASE,
)
FP8_BLOCK = (128, 128)
FP8_CONFIG = {"quant_method": "fp8", "weight_block_size": [*FP8_BLOCK]}
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

    def sidecars(self) -> list[str]:
        return list(self.sidecar_bytes)

    def size_of(self, sidecar: str) -> int:
        return self.sidecar_bytes[sidecar]

    def files(self) -> dict[str, Path]:
        raise CheckpointError(
            "only its shapes are known here, not its weights",
            where=self.name,
            fix=f"hf download {self.name}, and give the folder",
        )


@cache
def _facts() -> dict[str, Any]:
    return read_shipped_toml("checkpoint/catalogue.toml")


def published_sizes() -> list[str]:
    """The published sizes, smallest first: `0.6B` to `235B-A22B`."""
    return list(_facts()["sizes"])


def _ids() -> list[str]:
    return [f"Qwen/Qwen3-{size}" for size in published_sizes()]


def find_published(name: str) -> Published | None:
    """The published checkpoint that *name* means, or None.

    `Qwen/Qwen3-0.6B`, `Qwen3-0.6B` and `0.6B` are equivalent, in upper or lower case. The suffixes
    `-Base`, `-Instruct-2507`, `-Thinking-2507` and `-FP8` are known for the sizes that have them.
    """
    match = NAME.fullmatch(name)
    known = {size.lower(): size for size in published_sizes()}
    size = known.get(match["size"].lower()) if match else None
    if match is None or size is None:
        return None
    tuning = (match["tuning"] or "").title()
    fp8 = bool(match["fp8"])
    facts = dict(_facts()["sizes"][size])
    base, longer = facts.pop("base"), facts.pop("longer", None)
    if tuning == "-Base":
        if not base or fp8:
            return None
        facts["max_position_embeddings"] = 32768
    elif tuning:
        if longer is None:
            return None
        facts |= longer
    full = f"Qwen/Qwen3-{size}{tuning}{'-FP8' if fp8 else ''}"
    config = parse_config(_config(facts, fp8=fp8))
    described = Published(full, NOWHERE, config, (), sidecar_bytes=_facts()["sidecars"])
    tensors = tuple(
        stored
        for tensor, t in expected_tensors(described).items()
        for stored in _stored(tensor, t, fp8=fp8)
    )
    return replace(described, tensors=tensors)


def _stored(name: str, tensor: Tensor, *, fp8: bool) -> Iterator[TensorInfo]:
    """The tensors that a weight is stored in."""
    if not (fp8 and tensor.role == "linear"):
        yield TensorInfo(name, tensor.shape, "BF16", "")
        return
    yield TensorInfo(name, tensor.shape, E4M3, "")
    scales = scale_shape(tensor.shape, FP8_BLOCK)
    yield TensorInfo(name + SCALE_SUFFIX, scales, "BF16", "")


def _config(facts: Mapping[str, Any], *, fp8: bool) -> dict[str, Any]:
    moe = "moe_intermediate_size" in facts
    family = Qwen3Moe if moe else Qwen3
    raw = {
        "architectures": [*family.classes],
        "model_type": family.name,
        **_facts()["common"],
        **(_facts()["moe"] if moe else {}),
        **facts,
    }
    return raw | ({"quantization_config": FP8_CONFIG} if fp8 else {})


def find_published_here(model: str) -> Published | None:
    """Like `find_published`, but None if there is a directory or embedded model of that name.

    Raises:
        CheckpointError: *model* is none of these and not a valid hub id.
    """
    if model in models.EMBEDDED or os.path.exists(os.path.expanduser(model)):
        return None
    described = find_published(model)
    if described is None and not hub.HUB_ID.fullmatch(model):
        raise CheckpointError(
            f"no directory, embedded or published model, or hub id is called {model!r}",
            fix=did_you_mean(model, [*models.EMBEDDED, *_ids()]),
        )
    return described


@contextmanager
def naming_published(model: str) -> Iterator[None]:
    """Add the published models, which need no hub, to the error of a hub that cannot be reached."""
    try:
        yield
    except HubError as error:
        raise HubError(
            error.what,
            where=model,
            fix="check the network or proxy, give the folder of a checkpoint on disk, or plan for "
            "one of these: " + ", ".join(_ids()),
        ) from error


def resolve_checkpoint(model: str) -> Checkpoint:
    """Describe *model*: embedded, a directory, published, or downloaded, tried in this order.

    Raises:
        CheckpointError: there is no such checkpoint, or it is invalid.
        HubError: the model must be downloaded, and the hub could not be reached.
    """
    if described := find_published_here(model):
        return described
    with naming_published(model):
        return hub.resolve(model)
