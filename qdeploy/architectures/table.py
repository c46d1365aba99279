"""The table of architectures: qdeploy's own rows, then those of installed plugins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.config import ModelConfig
from qdeploy.architectures.llama import Llama
from qdeploy.architectures.qwen2 import Qwen2
from qdeploy.architectures.qwen3 import Qwen3
from qdeploy.architectures.qwen3_moe import Qwen3Moe
from qdeploy.architectures.spelling import spell
from qdeploy.errors import QdeployError
from qdeploy.plugins import load_plugins

ARCHITECTURES = "qdeploy.architectures"
"""The entry-point group of third parties' architectures."""

SIBLINGS = re.compile(r"(?:ForSequenceClassification|Model)$")
"""Ends of the names of transformers' other classes of a family."""
GENERATES = "ForCausalLM"
"""In the names of classes that generate, those of trainers included."""

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
    """The architecture that transformers' class *name* belongs to, or None.

    A family's bare model and its sequence classifier belong to the class that generates.
    """
    names = (name, SIBLINGS.sub("ForCausalLM", str(name)))
    known = architectures().values()
    return next((a for a in known if any(n in a.classes for n in names)), None)


def parse_config(raw: Mapping[str, Any]) -> ModelConfig:
    """Check the content of a `config.json`; gives the family's own class where it is known.

    Raises:
        ValidationError: pydantic's, of the keys that are missing or hold an impossible value.
    """
    family, classes, _ = _family(raw)
    named = {**raw, "architectures": classes} if family else raw
    return (family.config if family else ModelConfig).model_validate(named)


def config_warnings(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """What `parse_config` decided between keys of a `config.json` that disagree."""
    return (*_family(raw).warnings, *spell(raw).warnings)


def find_family(raw: Mapping[str, Any]) -> Architecture | None:
    """The architecture of a model with this `config.json`, or None."""
    return _family(raw).family


class _Family(NamedTuple):
    """The family that a `config.json` names, and its names of it, the one that counts first."""

    family: Architecture | None
    classes: list[str]
    warnings: tuple[str, ...] = ()


def _family(raw: Mapping[str, Any]) -> _Family:
    """As transformers does, `model_type` decides where it and `architectures` disagree.

    A class that is not known decides by itself where its code comes with the checkpoint, since it
    may compute anything, and where it does not generate. A file without classes, or without a
    type, is named by the other.
    """
    names = raw.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return _Family(None, [])
    by_class = next(filter(None, map(find_architecture, names)), None)
    by_type = architectures().get(str(raw.get("model_type")))
    apart = raw.get("auto_map") or not any(GENERATES in name for name in names)
    if names and by_class is None and apart:
        return _Family(None, names)
    family = by_type or by_class
    if family is None:
        return _Family(None, names)
    own = [name for name in names if find_architecture(name) is family]
    if own or not names:
        return _Family(family, own or [*family.classes])
    warning = (
        f"config.json says model_type = {family.name!r} and architectures = {names!r}; model_type "
        "counts, as in transformers"
    )
    return _Family(family, [*family.classes], (warning,))
