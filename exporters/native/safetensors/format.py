"""Writes the files of a safetensors bundle except the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from qdeploy.architectures.graph import GraphConfig
from qdeploy.checkpoint.sources.codes import REQUANTIZE
from qdeploy.checkpoint.weight_files import INDEX
from qdeploy.errors import ExportFailed, Refusal
from qdeploy.exporters.native.format import NUMBER, ExportLayout, FormatWriter
from qdeploy.exporters.native.safetensors.packing import (
    WORD_BITS,
    Bytes,
    BytesByStaticInputs,
    SmallFloatBlocks,
    SmallFloats,
    Stored,
    Words,
)
from qdeploy.exporters.native.safetensors.quantization_config import quantization_config
from qdeploy.exporters.native.safetensors.shards import Planned, describe, index, shards
from qdeploy.planning.formats import SAFETENSORS
from qdeploy.planning.plan import Plan
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import PER_CHANNEL, DType, Precision

FLOATS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""The types of stored floats by a profile's word, which are torch's names as well."""


class Weights(NamedTuple):
    """Weights that are multiplied by rounded inputs.

    Attributes:
        form: as profiles say it.
    """

    form: str
    takes: Callable[[Precision], bool]


BYTES = Precision(dtype="int8", symmetric=True)
IN_BYTES = Weights('{ dtype = "int8", symmetric = true }', lambda precision: precision == BYTES)
STATIC = "int8-static"
MULTIPLIED: Mapping[str, Weights] = {
    "int8": IN_BYTES,
    STATIC: IN_BYTES,
    "fp8": Weights('{ dtype = "fp8" }', lambda precision: precision.dtype == "fp8"),
}
"""By `graph.input_activations`."""


class SafetensorsFormat(FormatWriter):
    """A model directory of transformers with weights as compressed-tensors stores them."""

    format = SAFETENSORS
    dtypes: ClassVar[tuple[DType, ...]] = ("int4", "int8", "fp8", "fp16")

    def why_not(self, plan: Plan) -> Refusal | None:
        if one := _mixed_expert(plan.tensors):
            return Refusal(
                f"{one.name} and those of other experts, or its gate and up projection, are stored "
                "in several forms, and runtimes multiply by all of a layer's experts as one weight",
                REQUANTIZE,
            )
        return next(filter(None, (_why_not(plan, t) for t in plan.tensors)), None)

    def config_changes(self, plan: Plan) -> Mapping[str, Any]:
        graph, checkpoint = plan.profile.graph, plan.checkpoint
        dtype = FLOATS[graph.activations]
        changes = {
            "dtype": dtype,
            "torch_dtype": dtype,
            "tie_word_embeddings": plan.is_tied,
            "quantization_config": quantization_config(
                _planned(plan), graph.input_activations, checkpoint.head
            ),
        }
        if plan.rope_scaling != checkpoint.config.rope_scaling:
            changes |= {
                "rope_theta": checkpoint.decoder.rope_theta,
                "rope_scaling": plan.rope_scaling,
                "rope_parameters": None,
            }
        return changes

    def write_tokenizer(self, plan: Plan, folder: Path) -> None:
        """Write nothing: its runtimes read the checkpoint's own files."""

    def write_graph(self, plan: Plan, config: GraphConfig, folder: Path) -> ExportLayout:
        """Lay the weights out, and write the index if they are in several files.

        Raises:
            ExportFailed: calibration has left no scale for the inputs of a layer.
        """
        planned = _planned(plan)
        files = shards(planned, _input_scales(plan, planned))
        layouts = {folder / name: shard for name, shard in files.items()}
        if len(files) == 1:
            return ExportLayout((), layouts)
        (folder / INDEX).write_text(json.dumps(index(files), indent=2) + "\n", encoding="utf-8")
        return ExportLayout((folder / INDEX,), layouts)


def _planned(plan: Plan) -> list[Planned]:
    return [describe(tensor, _encoding(plan, tensor)) for tensor in plan.tensors]


def _encoding(plan: Plan, tensor: TensorPlan) -> Stored:
    graph, precision = plan.profile.graph, tensor.precision
    kind: type[Stored] = Words
    if precision.dtype == "fp8":
        kind = SmallFloats if precision.group_size == PER_CHANNEL else SmallFloatBlocks
    elif tensor.role == "linear" and graph.inputs_dtype == "int8":
        kind = BytesByStaticInputs if graph.input_activations == STATIC else Bytes
    return kind(FLOATS[graph.activations])


def _input_scales(plan: Plan, planned: Iterable[Planned]) -> dict[str, float]:
    """The scales of layers' inputs that are stored, by the weight's name: of calibration's codes.

    Raises:
        ExportFailed: there is none for a layer.
    """
    from qdeploy.calibration.codes import open_planned_weights

    scaled = [p.tensor for p in planned if p.input_scale]
    if not scaled:
        return {}
    found = {}
    with open_planned_weights(plan) as source:
        for tensor in scaled:
            scale = source.codes(tensor.source, 0, 1).input_scale
            if scale is None:
                raise ExportFailed(
                    "calibration has found no scale for the layer's inputs",
                    where=tensor.name,
                    fix='set graph.input_activations = "int8" in the profile',
                )
            found[tensor.name] = scale
    return found


def _mixed_expert(tensors: Iterable[TensorPlan]) -> TensorPlan | None:
    """An expert's projection of another form than what it is stacked with, or None.

    Gate and up projections of all experts of a layer are one stack, in vLLM, too.
    """
    forms: dict[str, Precision] = {}
    for t in tensors:
        stack = NUMBER.sub(".experts.", t.name).replace("gate_proj", "up_proj")
        if t.expert and forms.setdefault(stack, t.precision) != t.precision:
            return t
    return None


def _why_not(plan: Plan, tensor: TensorPlan) -> Refusal | None:
    """Why the format has no place for a weight as it is planned, or None if it has."""
    precision, inputs = tensor.precision, plan.profile.graph.input_activations
    if tensor.role == "embedding" and precision.dtype != "fp16":
        return Refusal(
            f"{tensor.name} would be {tensor.label}, and embeddings are floats there",
            tensor.fix('set weights.embedding = { dtype = "fp16" } in the profile'),
        )
    if precision.dtype in ("int4", "int8") and tensor.shape[-1] * precision.bits % WORD_BITS:
        return Refusal(
            f"{tensor.name} has rows of {tensor.shape[-1]}, and {tensor.label} would end within a "
            "word of 32 bits, which not all readers of its packed codes support",
            tensor.fix(f'set {tensor.key} = {{ dtype = "fp16" }} in the profile'),
        )
    wanted = MULTIPLIED.get(inputs)
    if tensor.role == "linear" and wanted and not wanted.takes(precision):
        return Refusal(
            f"{tensor.name} is {tensor.label}, and inputs of {inputs} are multiplied by weights of "
            f"{wanted.form}",
            tensor.fix(
                f'set graph.input_activations = "none", or weights.linear = {wanted.form} in the '
                "profile"
            ),
        )
    if tensor.role == "linear" and inputs == STATIC and not tensor.calibrated:
        return _without_scale(tensor)
    return None


def _without_scale(tensor: TensorPlan) -> Refusal:
    """Why the scale of a layer's inputs is not known."""
    kept = f"{tensor.name} keeps the codes of {tensor.scheme}, which are not calibrated"
    otherwise = 'set graph.input_activations = "int8" in the profile, which needs no calibration'
    return Refusal(
        f'graph.input_activations = "{STATIC}" rounds inputs by scales that calibration finds, and '
        f"{kept if tensor.scheme else 'this export has no calibration'}",
        f"add {'--requantize' if tensor.scheme else '--calibrate'}, or {otherwise}",
    )
