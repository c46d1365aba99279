"""A model as an engine lists it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdeploy.engines.chunks import is_count


@dataclass(frozen=True)
class ServedModel:
    """A model that an engine has.

    Attributes:
        id: its name in requests.
        context: most tokens, prompt and answer together; None where the engine does not tell.
        owner: `owned_by`, by which engines name themselves.
        told: all that the engine says of it.
    """

    id: str
    context: int | None
    owner: str | None
    told: Mapping[str, Any]


def read_model(told: Mapping[str, Any]) -> ServedModel:
    """Return the model of an entry that has an `id`; what else it says is believed if it can be."""
    context, owner = told.get("max_model_len"), told.get("owned_by")
    return ServedModel(
        told["id"],
        context if is_count(context) and context else None,
        owner if isinstance(owner, str) else None,
        told,
    )
