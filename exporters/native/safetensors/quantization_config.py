"""`quantization_config` of `config.json`: which module's weight is stored in which form.

Its schema is compressed-tensors' `QuantizationConfig` (0.20, `quantization/quant_config.py`). A
module is of the group that has its name among the targets, or a pattern that matches it, or else
its class. So that vLLM finds the same group (its `find_matched_target`), several groups are told
apart by names and patterns alone: before 0.32 it asks for the class before it looks at the modules
that it has fused into one. It finds an lm_head by its name only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from qdeploy.exporters.native.safetensors.shards import Planned
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import BLOCK, PER_CHANNEL, Precision

LINEAR_CLASS = "Linear"
"""Name of the class of all modules that a group may mean: of a model with one group."""
LINEAR_ROLES = ("linear", "router", "lm_head", "score")
"""Roles of the weights of such modules."""
MIXED = "mixed-precision"
"""Format of a model whose groups have several."""
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
BY_TOKEN = {"num_bits": 8, "symmetric": True, "strategy": "token", "dynamic": True}
INPUTS: Mapping[str, dict[str, Any] | None] = {
    "none": None,
    "int8": BY_TOKEN | {"type": "int"},
    "int8-static": BY_TOKEN | {"type": "int", "strategy": "tensor", "dynamic": False},
    "fp8": BY_TOKEN | {"type": "float"},
}
"""What a module rounds its inputs to, by `graph.input_activations`."""
IN_BLOCKS = {"strategy": "group", "group_size": BLOCK}
"""Of the same, where weights are FP8 in blocks: the library's preset `FP8_BLOCK`."""


class Form(NamedTuple):
    """What all modules of a group have in common."""

    format: str
    precision: Precision
    inputs: str


def quantization_config(
    planned: Iterable[Planned], inputs: str, head: str
) -> dict[str, Any] | None:
    """The settings of a model's weights; None for a model of floats.

    Args:
        planned: every weight that is stored.
        inputs: what linear layers round their inputs to: `graph.input_activations`.
        head: name of the lm_head's weight, which is a module where no weight is stored for it, too.
    """
    forms: dict[str, Form | None] = {_module(head): None}
    for weight in planned:
        if weight.tensor.role in LINEAR_ROLES:
            forms[_module(weight.tensor.name)] = _form(weight, inputs)
    counts = Counter(form for form in forms.values() if form)
    if not counts:
        return None
    groups = {}
    for number, (form, _) in enumerate(counts.most_common()):
        targets = _targets(form, forms)
        if len(counts) == 1:
            targets = [LINEAR_CLASS, *({_module(head)} & set(targets))]
        groups[f"group_{number}"] = {"targets": targets, **_settings(form)}
    formats = {form.format for form in counts}
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else MIXED,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": _targets(None, forms),
    }


def _module(weight: str) -> str:
    return weight.rpartition(".")[0]


def _form(weight: Planned, inputs: str) -> Form | None:
    tensor: TensorPlan = weight.tensor
    if tensor.precision.dtype == "fp16":
        return None
    rounded = inputs if tensor.role == "linear" else "none"
    return Form(weight.encoding.format, tensor.precision, rounded)


def _settings(form: Form) -> dict[str, Any]:
    precision, inputs = form.precision, INPUTS[form.inputs]
    if inputs and _is_in_blocks(precision):
        inputs = inputs | IN_BLOCKS
    weights = {
        "num_bits": precision.bits,
        "type": "float" if precision.dtype == "fp8" else "int",
        "symmetric": not precision.has_zero_points,
        "dynamic": False,
    }
    return {
        "format": form.format,
        "weights": weights | _sharing(precision),
        "input_activations": inputs,
        "output_activations": None,
    }


def _sharing(precision: Precision) -> dict[str, Any]:
    """Which weights share a scale."""
    size = precision.group_size
    if _is_in_blocks(precision):
        return {"strategy": "block", "block_structure": [size, size]}
    if size == PER_CHANNEL:
        return {"strategy": "channel", "group_size": None}
    return {"strategy": "group", "group_size": size}


def _is_in_blocks(precision: Precision) -> bool:
    return precision.dtype == "fp8" and precision.group_size != PER_CHANNEL


def _targets(form: Form | None, forms: Mapping[str, Form | None]) -> list[str]:
    """The modules of a form: one pattern for those of all layers, else their names."""
    kinds: dict[str, list[str]] = {}
    for module in forms:
        kinds.setdefault(NUMBER.sub("N", module), []).append(module)
    found = []
    for modules in kinds.values():
        chosen = [module for module in modules if forms[module] == form]
        whole = len(chosen) == len(modules) > 1
        found += [_pattern(chosen[0])] if whole else chosen
    return found


def _pattern(module: str) -> str:
    """What matches the module and all of its kind, in other layers and of other experts."""
    parts = (r"\d+" if part.isdigit() else re.escape(part) for part in module.split("."))
    return "re:^" + r"\.".join(parts) + "$"
