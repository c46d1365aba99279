"""From stored tensors to weights: each by its name in the architecture's table, with its source.

This is the one place that brings together under which other names (`module_names`) and in which
other layouts (`stacks`, `schemes`) a model is stored. What no model reads is dropped, with the
reason (`leftovers`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.naming.leftovers import NO_SUCH_PART, Leftover, find_leftover
from qdeploy.checkpoint.naming.module_names import STACKS, ModuleNames
from qdeploy.checkpoint.naming.stacks import split
from qdeploy.checkpoint.schemes import Scheme
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import FLOATS, Plain
from qdeploy.errors import CheckpointError

Same = Callable[[TensorInfo, TensorInfo], bool]
"""Whether two stored tensors hold the same values."""

UNMERGED = re.compile(r"\.lora_\w+(\.|$)")
SHOWN = 3
"""Tensors that a warning names."""


@dataclass(frozen=True)
class Named:
    """Stored tensors by the module that they belong to, and by the last part of their names.

    Attributes:
        modules: by the names of the architecture's table.
        dropped: why a stored tensor belongs to none, by its stored name.
        warnings: those of them that the user should know of.
    """

    modules: Mapping[str, Mapping[str, TensorInfo]]
    dropped: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a checkpoint stores.

    Attributes:
        sources: of each weight, by its name.
        dropped: why a stored tensor is not read, by its stored name.
        warnings: what was decided between sources that disagree.
    """

    sources: Mapping[str, Source]
    dropped: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def name_tensors(tensors: Sequence[TensorInfo], names: ModuleNames | None, same: Same) -> Named:
    """Give stored tensors the *names* of the architecture; None where it is not known.

    Parts of a layer that it does not have keep their names: the graph cannot compute them.

    Raises:
        CheckpointError: an adapter is not merged, or two tensors of other values are one weight.
    """
    modules: dict[str, dict[str, TensorInfo]] = {}
    dropped: dict[str, str] = {}
    skipped: list[str] = []
    if names and not any(names.find(_split(t.name)[0]) for t in tensors):
        names = None  # another architecture, whose names say more than that all are left out
    for tensor in tensors:
        stored, part = _split(tensor.name)
        module = names.find(stored) if names else stored
        if names and module is None and (row := _why_unread(tensor, names)):
            dropped[tensor.name] = row.reason
            skipped += [tensor.name] if row.warns else []
            continue
        parts = modules.setdefault(module or stored, {})
        if (first := parts.setdefault(part, tensor)) is not tensor:
            if not same(first, tensor):
                raise _twice(first, tensor)
            dropped[tensor.name] = f"the same as {first.name} in {first.file}"
    return Named(modules, dropped, (_skipped(skipped),) if skipped else ())


def _why_unread(tensor: TensorInfo, names: ModuleNames) -> Leftover | None:
    """Why a tensor of no known module may be left out; None for a part of a layer.

    Raises:
        CheckpointError: it changes a weight.
    """
    if UNMERGED.search(tensor.name):
        raise _unmerged(tensor)
    known = find_leftover(tensor.name)
    return known or (None if names.is_in_a_layer(_split(tensor.name)[0]) else NO_SUCH_PART)


def is_float(named: Named) -> bool:
    """Whether nothing in *named* is quantized: all are weights and biases of floats."""
    return all(
        tensor.dtype in FLOATS and (part in ("weight", "bias") or module.endswith(".experts"))
        for module, parts in named.modules.items()
        for part, tensor in parts.items()
    )


def left_over(named: Named, settings: Mapping[str, Any]) -> Named:
    """The same, with a warning that the *settings* of a quantization are left over."""
    warning = (
        f"config.json says that the weights are quantized ({settings.get('quant_method')}), but "
        "all are floats: they are read as they are (quantization_config)"
    )
    return replace(named, warnings=(*named.warnings, warning))


def find_weights(named: Named, scheme: Scheme | None, names: ModuleNames | None = None) -> Found:
    """Find the weights in stored tensors.

    Args:
        named: the tensors, by module.
        scheme: how they are quantized.
        names: those of the architecture, where it is known.

    Raises:
        CheckpointError: the experts of a layer are in a tensor of another shape, or stored twice.
    """
    modules = {module: dict(parts) for module, parts in named.modules.items()}
    sources: dict[str, Source] = dict(_stacked(modules, names)) if names else {}
    dropped = dict(named.dropped)
    for module, parts in modules.items():
        weight = _join(module, "weight")
        if parts and (stack := sources.get(weight)):
            raise _stored_twice(weight, stack.tensors[0], next(iter(parts.values())))
        quantized = scheme.source(module, parts) if scheme else None
        if quantized:
            sources[weight] = quantized
        read = quantized.tensors if quantized else ()
        for part, tensor in parts.items():
            if tensor in read:
                continue
            name = _join(module, part)
            if scheme and part in scheme.unread:
                dropped[tensor.name] = scheme.unread[part]
            elif names and name not in names.table and (row := find_leftover(name)):
                dropped[tensor.name] = row.reason
            else:
                sources[name] = Plain(tensor)
    notes = scheme.notes if scheme else ()
    return Found(sources, dropped, (*named.warnings, *notes))


def _stacked(
    modules: dict[str, dict[str, TensorInfo]], names: ModuleNames
) -> Iterator[tuple[str, Source]]:
    """The weights in stacks of experts, whose tensors are taken out of *modules*."""
    for experts, count in names.experts.items():
        found: dict[str, TensorInfo] = {}
        for stack in STACKS:
            for module, part in ((experts, stack), (f"{experts}.{stack}", "weight")):
                tensor = modules.get(module, {}).pop(part, None)
                if tensor is None:
                    continue
                for name, source in split(experts, count, stack, tensor, names.table):
                    if (other := found.setdefault(name, tensor)) is not tensor:
                        raise _stored_twice(name, other, tensor)
                    yield name, source


def _split(name: str) -> tuple[str, str]:
    """Module and part of a tensor's name: parts of a weight are `weight.absmax` and the like."""
    module, _, part = name.rpartition(".")
    before, found, rest = name.partition(".weight.")
    return (before, f"weight.{rest}") if found else (module, part)


def _join(module: str, part: str) -> str:
    return f"{module}.{part}" if module else part


def _skipped(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"the architecture has no part that reads {', '.join(names[:SHOWN])}{more}: left out, as "
        "in transformers"
    )


def _unmerged(tensor: TensorInfo) -> CheckpointError:
    return CheckpointError(
        f"{tensor.name} is a part of an adapter that is not merged into the weights",
        where=tensor.file,
        fix="merge it with PEFT (merge_and_unload), and save the result",
    )


def _stored_twice(weight: str, one: TensorInfo, other: TensorInfo) -> CheckpointError:
    return CheckpointError(
        f"{weight} is in {one.name} and in {other.name}",
        where=other.file,
        fix="save the weights without the one that does not count",
    )


def _twice(one: TensorInfo, other: TensorInfo) -> CheckpointError:
    what = "tensors of different values are the same weight"
    if one.name == other.name:
        return CheckpointError(
            f"{one.name} is in {one.file} and in {other.file}, with different values",
            where=other.file,
            fix="remove the files of an older model, or take all of them from one",
        )
    return CheckpointError(
        f"{what}: {one.name} in {one.file}, and {other.name} in {other.file}",
        where=other.file,
        fix="save the weights without the one that does not count",
    )
