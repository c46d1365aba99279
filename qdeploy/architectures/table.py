"""The table of architectures: qdeploy's own rows, then those of installed plugins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.config import ModelConfig
from qdeploy.architectures.llama import Llama
from qdeploy.architectures.qwen2 import Qwen2
from qdeploy.architectures.qwen3 import Qwen3
from qdeploy.architectures.qwen3_moe import Qwen3Moe
from qdeploy.errors import QdeployError
from qdeploy.plugins import load_plugins

ARCHITECTURES = "qdeploy.architectures"
"""The entry-point group of third parties' architectures."""

BUILT_IN: tuple[Architecture, ...] = (Qwen3(), Qwen3Moe(), Qwen2(), Llama())


@cache
def architectures() -> dict[str, Architecture]:
    """Every known architecture by name, qdeploy's own first.

    Raises:
        QdeployError: a plugin does not load, or claims a name or a class that is taken.
    """
    found: dict[str, Architecture] = {}
    for row in (*BUILT_IN, *load_plugins(ARCHITECTURES, Architecture).values()):
        taken = {row.name} & found.keys() or {*row.classes} & {
            name for other in found.values() for name in other.classes
        }
        if taken:
            raise QdeployError(
                f"the {ARCHITECTURES} plugin {row.name!r} claims {min(taken)!r}, which is taken",
                fix="uninstall the plugin",
            )
        found[row.name] = row
    return found


def known_classes() -> list[str]:
    """Transformers' class names of every known architecture."""
    return [name for known in architectures().values() for name in known.classes]


def find_architecture(name: object) -> Architecture | None:
    """The architecture that transformers' class *name* belongs to, or None."""
    return next((a for a in architectures().values() if name in a.classes), None)


def parse_config(raw: Mapping[str, Any]) -> ModelConfig:
    """Check the content of a `config.json`; gives the family's own class where it is known.

    Raises:
        ValidationError: pydantic's, of the keys that are missing or hold an impossible value.
    """
    names = raw.get("architectures")
    known = find_architecture(names[0]) if isinstance(names, list) and names else None
    return (known.config if known else ModelConfig).model_validate(raw)
