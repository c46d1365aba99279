"""Which modules an adapter's config adapts: PEFT's `check_target_module_exists` (0.21)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from qdeploy.checkpoint.adapters.config import AdapterConfig
from qdeploy.checkpoint.adapters.experts import STACKS

ALL_LINEAR = "all-linear"
"""Stands for every linear layer but the head."""
PARAMETERS = ("weight", *STACKS)


def is_target(config: AdapterConfig, names: Iterable[str]) -> bool:
    """Whether the module that has these *names* is one that the config adapts.

    `target_modules` left out means PEFT's choice for the architecture, which is not repeated here.
    """
    return any(_is_target(config, name) or _has_parameter(config, name) for name in names)


def _has_parameter(config: AdapterConfig, name: str) -> bool:
    """Whether `target_parameters` names a parameter of the module."""
    targets = config.target_parameters or ()
    return any(_listed(targets, f"{name}.{parameter}") for parameter in PARAMETERS)


def is_saved(entry: str, name: str) -> bool:
    """Whether an *entry* of `modules_to_save` is the end of *name*, or of what that is a part of.

    PEFT saves what ends in an entry: `norm` is `q_norm`, too.
    """
    return re.search(rf"{re.escape(entry)}($|\.)", name) is not None


def _is_spared(entry: str, name: str) -> bool:
    """Whether an *entry* of `modules_to_save` spares the module *name* from being adapted."""
    return re.match(rf"(^|.*\.){entry}($|\..*)", name) is not None


def _is_target(config: AdapterConfig, name: str) -> bool:
    targets = config.target_modules
    if config.exclude_modules and _listed(config.exclude_modules, name):
        return False
    if any(_is_spared(saved, name) for saved in config.modules_to_save or ()):
        return False
    if targets is None:
        return not config.target_parameters
    if targets == ALL_LINEAR:
        return not name.endswith("lm_head")
    if not _listed(targets, name):
        return False
    return isinstance(targets, str) or _is_in_layers(config, name)


def _listed(patterns: str | Sequence[str], name: str) -> bool:
    """Whether a pattern is the whole name, or one of a list of names is its end."""
    if isinstance(patterns, str):
        return re.fullmatch(patterns, name) is not None
    return any(name == end or name.endswith(f".{end}") for end in patterns)


def _is_in_layers(config: AdapterConfig, name: str) -> bool:
    wanted = config.layers_to_transform
    if wanted is None or wanted == []:
        return True
    found = None
    patterns = config.layers_pattern
    if not patterns:
        found = re.match(r".*?\.[^.]*\.(?P<layer>\d+)\.", name)
    for pattern in [patterns] if isinstance(patterns, str) else patterns or ():
        found = found or re.match(rf"(?:^|.*?\.){pattern}\.(?P<layer>\d+)\.", name)
    if not found:
        return False
    layer = int(found["layer"])
    return layer == wanted if isinstance(wanted, int) else layer in wanted
