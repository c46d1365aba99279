"""The published Qwen3 checkpoints by name: hub ids, short names, and the facts of their configs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from qdeploy.architectures.task import GENERATE, Task
from qdeploy.checkpoint.task import published_task
from qdeploy.storage.toml_file import read_shipped_toml

NAME = re.compile(
    r"(?:Qwen/)?(?:Qwen3-)?(?P<role>(?:Embedding|Reranker)-)?(?P<size>[\d.]+B(?:-A\d+B)?)"
    r"(?P<tuning>-Base|-Instruct-2507|-Thinking-2507)?(?P<fp8>-FP8)?",
    re.IGNORECASE,
)

ROLES = ("Embedding", "Reranker")
"""What names of models that do not generate say before their size."""


class Variant(NamedTuple):
    """A published checkpoint: hub id, numbers of its config, whether it is FP8, and task."""

    hub_id: str
    numbers: Mapping[str, Any]
    fp8: bool
    task: Task = GENERATE


@cache
def facts() -> dict[str, Any]:
    """What the package knows of them, by the tables of `catalogue.toml`."""
    return read_shipped_toml("checkpoint/catalogue.toml")


def published_sizes() -> list[str]:
    """The published sizes, smallest first: `0.6B` to `235B-A22B`."""
    return list(facts()["sizes"])


def published_ids() -> list[str]:
    """The hub ids of the published sizes, smallest first, without their variants.

    Those of embedding and reranking models come last.
    """
    generating = [f"Qwen/Qwen3-{size}" for size in published_sizes()]
    others = [f"Qwen/Qwen3-{role}-{size}" for role in ROLES for size in facts()[role.lower()]]
    return generating + others


def published_id(name: str) -> str | None:
    """The hub id of the published checkpoint that *name* means, or None; see `variant`."""
    found = variant(name)
    return found.hub_id if found else None


def variant(name: str) -> Variant | None:
    """The published checkpoint that *name* means, or None.

    `Qwen/Qwen3-0.6B`, `Qwen3-0.6B` and `0.6B` are equivalent, in upper or lower case. The suffixes
    `-Base`, `-Instruct-2507`, `-Thinking-2507` and `-FP8` are known for the sizes that have them,
    and so are `Qwen3-Embedding-` and `Qwen3-Reranker-` before a size.
    """
    match = NAME.fullmatch(name)
    known = {size.lower(): size for size in published_sizes()}
    size = known.get(match["size"].lower()) if match else None
    if match is None or size is None:
        return None
    tuning = (match["tuning"] or "").title()
    fp8 = bool(match["fp8"])
    numbers = dict(facts()["sizes"][size])
    base, longer = numbers.pop("base"), numbers.pop("longer", None)
    if match["role"]:
        return _other_task(
            match["role"].rstrip("-").title(), size, numbers, plain=not (tuning or fp8)
        )
    if tuning == "-Base":
        if not base or fp8:
            return None
        numbers["max_position_embeddings"] = 32768
    elif tuning:
        if longer is None:
            return None
        numbers |= longer
    hub_id = f"Qwen/Qwen3-{size}{tuning}{'-FP8' if fp8 else ''}"
    return Variant(hub_id, numbers, fp8)


def _other_task(role: str, size: str, numbers: Mapping[str, Any], *, plain: bool) -> Variant | None:
    """The embedding or reranking model of a size, which there is without any suffix only."""
    differing = facts()[role.lower()].get(size)
    if differing is None or not plain:
        return None
    hub_id = f"Qwen/Qwen3-{role}-{size}"
    return Variant(hub_id, {**numbers, **differing}, fp8=False, task=published_task(hub_id))
