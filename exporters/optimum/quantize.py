"""The second step: quantizes the float graph as planned, writes it to the bundle, and checks it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum import graph
from qdeploy.exporters.optimum.job import Job
from qdeploy.exporters.optimum.passes import FLOAT, Pass, passes
from qdeploy.exporters.optimum.slots import check_places, check_precisions, key_of, slots
from qdeploy.planning.formats import OPENVINO


def quantize(job: Job, stage: Callable[[str], None]) -> None:
    """Write the model and its weights.

    Raises:
        ExportFailed: the traced graph or the result does not match the plan.
    """
    import openvino as ov

    core = ov.Core()
    wanted = slots(job.matrices)
    model = core.read_model(job.float_model)
    constants = graph.weights(model)
    check_places(wanted, constants)
    halves = {
        c.name
        for c in constants
        if wanted[key_of(c)].precision.dtype == FLOAT and c.stored != FLOAT
    }
    for step in passes(wanted, constants):
        stage(f"quantizing to {step.precision}: {len(step.constants)} weights")
        model = _apply(step, model, {c.name for c in constants})
        gc.collect()
    if halves:
        stage(f"rounding to {FLOAT}: {len(halves)} weights")
        _to_half(model, halves)
    _annotate(model, job.kv_cache)
    stage("writing the model")
    ov.save_model(model, job.model, compress_to_fp16=False)
    del model
    stage("checking the weights against the plan")
    written = graph.weights(core.read_model(job.model))
    check_places(wanted, written)
    check_precisions(wanted, written)


def _apply(step: Pass, model: Any, names: set[str]) -> Any:
    """Run one pass. Its scope names constants, not operations, so shared weights stay shared."""
    import nncf

    scope = nncf.IgnoredScope(names=sorted(names - step.constants), validate=False)
    mode = nncf.CompressWeightsMode(step.mode)
    quantized = nncf.compress_weights(model, mode=mode, ignored_scope=scope, **step.options)
    _make_names_unique(quantized)
    return quantized


def _make_names_unique(model: Any) -> None:
    """Rename nodes with equal names, which NNCF rejects in its next pass.

    OpenVINO numbers unnamed nodes per process. So nodes that NNCF adds here can get names that
    nodes of the previous step were saved with.
    """
    taken: set[str] = set()
    for node in model.get_ordered_ops():
        name = unique = node.get_friendly_name()
        count = 0
        while unique in taken:
            count += 1
            unique = f"{name}.{count}"
        taken.add(unique)
        if count:
            node.set_friendly_name(unique)


def _to_half(model: Any, names: set[str]) -> None:
    """Store float constants as float16, followed by a Convert to the type they had.

    Raises:
        ExportFailed: a value exceeds the range of float16.
    """
    import numpy as np
    import openvino as ov
    from openvino import opset13 as ops

    for constant in [op for op in model.get_ordered_ops() if op.get_friendly_name() in names]:
        name, shape = constant.get_friendly_name(), constant.get_output_shape(0)
        kind = constant.get_element_type()
        # OpenVINO converts, since NumPy has no bfloat16
        wide = ov.Tensor(constant.data, shape, kind)
        values = ov.Tensor(ov.Type.f16, ov.Shape(shape))
        ops.convert(constant, ov.Type.f16).evaluate([values], [wide])
        if not np.isfinite(values.data).all():
            raise ExportFailed("a value is too large for fp16", where=name)
        half = ov.op.Constant(values)
        half.set_friendly_name(name)
        widened = ops.convert(half, kind)
        for consumer in constant.output(0).get_target_inputs():
            already = consumer.get_node().get_type_name() == "Convert"
            consumer.replace_source_output((half if already else widened).output(0))
    model.validate_nodes_and_infer_types()


def _annotate(model: Any, kv_cache: str) -> None:
    """Set the runtime information of the model.

    The cache type comes from the profile, since optimum-intel sets a float type for the float
    graph. NNCF's description of its last pass is removed, since the manifest describes all passes.
    """
    options = dict(model.get_rt_info("runtime_options").value)
    options.pop("KV_CACHE_PRECISION", None)
    if kv_cache != "u8":  # every plugin's default
        options["KV_CACHE_PRECISION"] = OPENVINO.cache_types[kv_cache]
    model.set_rt_info(options, "runtime_options")
    if model.has_rt_info("nncf"):
        model.set_rt_info({"version": model.get_rt_info(["nncf", "version"]).value}, "nncf")
