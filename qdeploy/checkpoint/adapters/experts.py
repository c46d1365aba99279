"""LoRA on the stacked experts of a layer, which transformers 5 has in place of a layer for each.

PEFT's `ParamWrapper` (0.21) keeps the factors of all E experts in two matrices: rows e * r to
(e + 1) * r of A [E * r, K] are those of expert e, and columns e, e + E, ... of B [N, r * E].
"""

from __future__ import annotations

from collections.abc import Mapping

from qdeploy.checkpoint.adapters.config import AdapterConfig
from qdeploy.checkpoint.adapters.factors import Factor
from qdeploy.checkpoint.adapters.lora import Merged
from qdeploy.checkpoint.adapters.parts import Misfit, Parts
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source

STACKS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""The projections that lie one below the other in each parameter of the stacked experts."""


def merge_experts(
    parts: Parts, experts: int, sources: Mapping[str, Source], config: AdapterConfig
) -> dict[str, Source]:
    """The weights of a layer's experts, by name.

    Raises:
        Misfit: a half is missing, or they are factors of no parameter of the experts.
    """
    a, b = parts.tensors.get("lora_A"), parts.tensors.get("lora_B")
    if a is None or b is None:
        raise Misfit(f"{'lora_B' if a else 'lora_A'} of {parts.module!r} is missing")
    parameter, rank = _find_parameter(parts, a, b, experts, sources, config)
    names = _names(parts, parameter)
    scale = config.scale(names)
    merged: dict[str, Source] = {}
    for expert in range(experts):
        factor = Factor(a, rows=slice(expert * rank, (expert + 1) * rank))
        first = 0
        for projection in STACKS[parameter]:
            name = f"{parts.module}.{expert}.{projection}.weight"
            last = first + sources[name].shape[0]
            part = Factor(b, rows=slice(first, last), columns=slice(expert, None, experts))
            merged[name] = Merged(sources[name], factor, part, scale)
            first = last
    return merged


def _find_parameter(
    parts: Parts,
    a: TensorInfo,
    b: TensorInfo,
    experts: int,
    sources: Mapping[str, Source],
    config: AdapterConfig,
) -> tuple[str, int]:
    """The parameter that the factors are for, which no name says, and their rank."""
    tried = []
    for parameter, projections in STACKS.items():
        shapes = [sources[f"{parts.module}.0.{p}.weight"].shape for p in projections]
        rank = config.rank(_names(parts, parameter))
        wanted = ((experts * rank, shapes[0][1]), (sum(s[0] for s in shapes), experts * rank))
        if (a.shape, b.shape) == wanted:
            return parameter, rank
        tried.append(f"{list(wanted[0])} and {list(wanted[1])} for {parameter} at rank {rank}")
    raise Misfit(
        f"{a.name!r} is {list(a.shape)} and its lora_B {list(b.shape)}, not " + ", or ".join(tried)
    )


def _names(parts: Parts, parameter: str) -> tuple[str, ...]:
    return tuple(f"{name}.{parameter}" for name in parts.names)
