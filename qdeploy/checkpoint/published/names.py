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
    r"(?P<tuning>-Base|-Instruct-2507|-Thinking-2507)?(?P<stored>-FP8|-AWQ|-GPTQ-Int[48])?",
    re.IGNORECASE,
)

FP8 = "-FP8"
"""The one form in which models of other tunings are published, too."""
ROLES = ("Embedding", "Reranker")
"""What names of models that do not generate say before their size."""


class Variant(NamedTuple):
    """A published checkpoint: hub id, numbers of its config, how it is quantized, and task.

    Attributes:
        settings: its `quantization_config`; None for floats.
    """

    hub_id: str
    numbers: Mapping[str, Any]
    settings: Mapping[str, Any] | None = None
    task: Task = GENERATE


@cache
def facts() -> dict[str, Any]:
    """What the package knows of them, by the tables of `catalogue.toml`."""
    return read_shipped_toml("checkpoint/published/catalogue.toml")


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
    `-Base`, `-Instruct-2507`, `-Thinking-2507`, `-FP8`, `-AWQ`, `-GPTQ-Int4` and `-GPTQ-Int8` are
    known for the sizes that have them, and so are `Qwen3-Embedding-` and `Qwen3-Reranker-` before a
    size.
    """
    match = NAME.fullmatch(name)
    known = {size.lower(): size for size in published_sizes()}
    size = known.get(match["size"].lower()) if match else None
    if match is None or size is None:
        return None
    tuning = (match["tuning"] or "").title()
    stored, settings = _quantized(match["stored"], size)
    if (match["stored"] and not settings) or (tuning and stored not in ("", FP8)):
        return None
    numbers = dict(facts()["sizes"][size])
    base, longer = numbers.pop("base"), numbers.pop("longer", None)
    if match["role"]:
        return _other_task(
            match["role"].rstrip("-").title(), size, numbers, plain=not (tuning or stored)
        )
    if tuning == "-Base":
        if not base or stored:
            return None
        numbers["max_position_embeddings"] = 32768
    elif tuning:
        if longer is None:
            return None
        numbers |= longer
    hub_id = f"Qwen/Qwen3-{size}{tuning}{stored}"
    return Variant(hub_id, numbers, settings)


def _quantized(suffix: str | None, size: str) -> tuple[str, Mapping[str, Any] | None]:
    """A suffix as the hub spells it, with the settings that it stands for; "" and None for none."""
    for name, row in facts()["quantized"].items():
        if suffix and name.lower() == suffix.lower() and size in row["sizes"]:
            return name, row["settings"]
    return "", None


def _other_task(role: str, size: str, numbers: Mapping[str, Any], *, plain: bool) -> Variant | None:
    """The embedding or reranking model of a size, which there is without any suffix only."""
    differing = facts()[role.lower()].get(size)
    if differing is None or not plain:
        return None
    hub_id = f"Qwen/Qwen3-{role}-{size}"
    return Variant(hub_id, {**numbers, **differing}, task=published_task(hub_id))
