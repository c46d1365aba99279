"""Quantizes the linear layers of a model's decoder layers with NNCF, and gives their float weights.

Runs in an environment with optimum-intel and NNCF, and imports nothing of qdeploy. Reads a job as
JSON from standard input (see `benchmarks.quality.peer`), and prints what it did as JSON in the last
line. It writes two things to the job's folder:

    openvino_model.xml         the compressed graph
    dequantized.safetensors    the weights that the graph's codes, scales and zero points represent,
                               float32, by their names in the checkpoint

The float graph is traced by optimum-intel, once for each model, into the job's `scratch`. AWQ moves
scales between layers: where it merges them into the layer before, that layer's codes have them;
where it inserts a multiplication of activations, the factors are multiplied into the columns of the
weight that follows here. So the weights alone compute what the graph computes.

With a `ratio` below 1 that share of the weights gets four bits, and the rest eight, a scale and a
zero point a row; the job's `metric` says which (NNCF's `SensitivityMetric`).
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CI": "true"}
"""`CI` is the only setting that stops the telemetry of both OpenVINO and NNCF."""

GRAPH = "openvino_model.xml"
CODES = ("u4", "i4", "u8")
"""Of four bits, and of the eight of `INT8_ASYM`."""
LINEAR = re.compile(r"model\.layers\.\d+\.(self_attn\.\w+_proj|mlp\.\w+_proj)\.weight")
STACK = re.compile(r"(?P<experts>model\.layers\.\d+\.mlp\.experts)[./].*?(?P<last>\d|down_proj)$")
"""Experts: constants [experts, rows, columns] of all of a layer."""
PROJECTIONS = {"0": "gate_proj", "1": "up_proj", "down_proj": "down_proj"}
"""The projection that a stack is by the end of its name; transformers fuses gate and up, in this
order, and the tracing splits them again."""
INSERTED = "/awq_mul"
"""In the name of a multiplication that AWQ has inserted."""


def trace(model: str, scratch: Path) -> Path:
    """The float graph, which is traced unless it is there."""
    graph = scratch / GRAPH
    if not graph.is_file():
        from optimum.exporters.openvino import main_export
        from optimum.intel import OVConfig

        main_export(
            model,
            output=scratch,
            task="text-generation-with-past",
            library_name="transformers",
            local_files_only=True,
            trust_remote_code=False,
            convert_tokenizer=False,
            ov_config=OVConfig(),  # else large models become int8
        )
    return graph


def checkpoint_name(constant: str) -> str:
    """The name of a constant as the checkpoint has it."""
    return constant.removeprefix("self.").replace("._openvino_orig_weight", ".weight")


def linears(graph: Any) -> dict[str, list[str]]:
    """Names of the decoder layers' linear weights in the checkpoint, by their constants' names.

    A stack of experts has the names of all of them.
    """
    found = {}
    for op in graph.get_ordered_ops():
        if op.get_type_name() != "Constant":
            continue
        name, shape = op.get_friendly_name(), tuple(op.get_output_shape(0))
        stack = STACK.search(name)
        if len(shape) == 2 and LINEAR.fullmatch(checkpoint_name(name)):
            found[name] = [checkpoint_name(name)]
        elif len(shape) == 3 and stack:
            last = PROJECTIONS[stack["last"]]
            found[name] = [f"{stack['experts']}.{i}.{last}.weight" for i in range(shape[0])]
    return found


def samples(graph: Any, sequences: list[list[int]]) -> list[dict[str, Any]]:
    """Inputs of the graph for each sequence, as one prompt with an empty cache."""
    import numpy as np

    names = {port.get_any_name() for port in graph.inputs}
    rows = []
    for ids in sequences:
        row = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "position_ids": np.arange(len(ids), dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        rows.append({name: value for name, value in row.items() if name in names})
    return rows


def compress(graph: Any, job: Mapping[str, Any], wanted: Mapping[str, list[str]]) -> Any:
    import nncf

    others = [
        op.get_friendly_name()
        for op in graph.get_ordered_ops()
        if op.get_type_name() == "Constant" and op.get_friendly_name() not in wanted
    ]
    methods, metric = job["methods"], job["metric"] and nncf.SensitivityMetric(job["metric"])
    reads = methods or metric not in (None, nncf.SensitivityMetric.WEIGHT_QUANTIZATION_ERROR)
    backup = "none" if job["ratio"] == 1 else "int8_asym"
    return nncf.compress_weights(
        graph,
        mode=nncf.CompressWeightsMode(f"int4_{'sym' if job['symmetric'] else 'asym'}"),
        group_size=job["group_size"],
        ratio=job["ratio"],
        sensitivity_metric=metric,
        all_layers=True,  # all that are not ignored; else the last of them would get eight bits
        backup_mode=nncf.BackupMode(backup),
        ignored_scope=nncf.IgnoredScope(names=sorted(others), validate=False),
        dataset=nncf.Dataset(samples(graph, job["sequences"])) if reads else None,
        subset_size=len(job["sequences"]),
        awq="awq" in methods,
        scale_estimation="scale_estimation" in methods,
        gptq="gptq" in methods,
    )


def value(node: Any) -> Any:
    """A constant of any type as float32."""
    import openvino as ov
    from openvino import opset13 as ops

    wide = ops.convert(node, ov.Type.f32)
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    return ov.compile_model(ov.Model([wide], []), "CPU", hints)([])[0].copy()


def followers(node: Any) -> list[Any]:
    return [port.get_node() for port in node.output(0).get_target_inputs()]


def dequantized(codes: Any) -> tuple[Any, int]:
    """The weights [..., rows, columns] of a constant of codes, and their bytes.

    Codes of four bits are [..., rows, groups, size], those of eight [..., rows, columns].
    """
    weights, node = value(codes), codes
    width = codes.get_element_type().bitwidth
    nbytes = weights.size * width // 8
    while True:
        [node] = followers(node)
        kind = node.get_type_name()
        if kind in ("Subtract", "Multiply"):
            operand = node.input_value(1).get_node()
            if operand.get_type_name() == "Convert":
                operand = operand.input_value(0).get_node()
            numbers = value(operand)
            bits = operand.get_element_type().bitwidth
            if numbers.size > 1:  # the one offset of unsigned symmetric codes counts as none
                nbytes += numbers.size * bits // 8
            weights = weights - numbers if kind == "Subtract" else weights * numbers
            if kind == "Multiply":
                break
        elif kind != "Convert":
            raise ValueError(f"{codes.get_friendly_name()} is followed by a {kind}")
    return weights if width == 8 else weights.reshape(*weights.shape[:-2], -1), nbytes


def inserted_factors(graph: Any) -> Iterator[tuple[Any, Any]]:
    """(factors of AWQ, the product that they reach) of each multiplication that it has inserted."""
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Multiply" or INSERTED not in node.get_friendly_name():
            continue
        factors = value(node.input_value(1).get_node())
        reached = node
        while reached.get_type_name() != "MatMul":
            [reached] = followers(reached)
        yield factors, reached


def constant_of(product: Any) -> str:
    """Name of the constant of codes that a MatMul multiplies by."""
    node = product.input_value(1).get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return str(node.get_friendly_name())


def main() -> None:
    job = json.load(sys.stdin)
    import openvino as ov
    from safetensors.numpy import save_file

    output = Path(job["output"])
    output.mkdir(parents=True, exist_ok=True)
    graph = ov.Core().read_model(trace(job["model"], Path(job["scratch"])))
    wanted = linears(graph)
    began = time.perf_counter()
    graph = compress(graph, job, wanted)
    seconds = time.perf_counter() - began
    ov.save_model(graph, output / GRAPH, compress_to_fp16=False)
    constants: dict[str, Any] = {}
    eights: list[str] = []
    total = 0
    for op in graph.get_ordered_ops():
        if op.get_type_name() == "Constant" and op.get_friendly_name() in wanted:
            if op.get_element_type().get_type_name() not in CODES:
                raise ValueError(f"{op.get_friendly_name()} is {op.get_element_type()}")
            weights, nbytes = dequantized(op)
            names = wanted[op.get_friendly_name()]
            # a matrix is a stack of one
            constants[op.get_friendly_name()] = weights.reshape(len(names), -1, weights.shape[-1])
            eights += names if op.get_element_type().bitwidth == 8 else []
            total += nbytes
    if len(constants) != len(wanted):
        raise ValueError(f"{len(wanted) - len(constants)} weights are not quantized")
    for factors, product in inserted_factors(graph):
        name = constant_of(product)
        columns = constants[name].shape[-1]
        constants[name] = constants[name] * factors.reshape(-1, 1, columns)
    matrices = {
        name: matrix.copy()
        for constant, stack in constants.items()
        for name, matrix in zip(wanted[constant], stack, strict=True)
    }
    save_file(matrices, output / "dequantized.safetensors")
    versions = {p: metadata.version(p) for p in ("nncf", "openvino", "optimum-intel", "torch")}
    done = {"seconds": seconds, "bytes": total, "eight_bits": eights, "versions": versions}
    print(json.dumps(done))


if __name__ == "__main__":
    main()
