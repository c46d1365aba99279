"""From stored tensors to weights: each by its name in the architecture's table, with its source.

This is the one place that knows under which other names and in which other layouts a model is
stored. What no model reads is dropped, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.schemes import Scheme
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import Plain


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


def find_weights(tensors: Iterable[TensorInfo], scheme: Scheme | None) -> Found:
    """Find the weights in stored tensors; *scheme* says how they are quantized."""
    modules: dict[str, dict[str, TensorInfo]] = {}
    for tensor in tensors:
        module, part = _split(tensor.name)
        modules.setdefault(module, {})[part] = tensor
    sources: dict[str, Source] = {}
    dropped: dict[str, str] = {}
    for module, parts in modules.items():
        quantized = scheme.source(module, parts) if scheme else None
        if quantized:
            sources[_join(module, "weight")] = quantized
        read = quantized.tensors if quantized else ()
        for part, tensor in parts.items():
            if tensor in read:
                continue
            if scheme and part in scheme.unread:
                dropped[tensor.name] = scheme.unread[part]
            else:
                sources[_join(module, part)] = Plain(tensor)
    return Found(sources, dropped, scheme.notes if scheme else ())


def _split(name: str) -> tuple[str, str]:
    """Module and part of a tensor's name: parts of a weight are `weight.absmax` and the like."""
    module, _, part = name.rpartition(".")
    before, found, rest = name.partition(".weight.")
    return (before, f"weight.{rest}") if found else (module, part)


def _join(module: str, part: str) -> str:
    return f"{module}.{part}" if module else part
