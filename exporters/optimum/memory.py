"""Predicts the memory of an export from the plan.

The formula is fitted to peaks of anonymous memory (RssAnon, sampled 20 times a second) of exports
to int4 with optimum-intel 2.2.0, NNCF 3.4.0, transformers 5.5.4 and OpenVINO 2026.4.1, on x86 with
two cores. RSS also counts weights in mapped files, whose pages the system can drop.

    checkpoint (bfloat16)            trace            quantize
    28 layers, 0.6B parameters       1.4  (1.6)       2.1  (2.2)   GB measured (predicted)
    2 layers of 8B                   1.0  (1.0)       7.4  (7.5)
    2 layers of 30B-A3B              9.1  (9.1)       4.5  (4.5)
    4 layers, 4M parameters          0.6  (1.1)       0.4  (0.5)
"""

from __future__ import annotations

from math import prod

from qdeploy.exporters.optimum.job import matrices
from qdeploy.exporters.optimum.passes import FLOAT
from qdeploy.exporters.optimum.slots import EXPERT, slots
from qdeploy.planning.plan import Plan

TRACE_BYTES = 1.0e9
"""torch, transformers and optimum-intel, with a tokenizer of 150,000 tokens."""
TRACE_BYTES_A_LAYER = 20e6
TRACE_BYTES_AN_EXPERT_WEIGHT = 20 / 3
"""Experts are widened to float32, and two thirds of them are stacked in pairs and copied."""
QUANTIZE_BYTES = 0.45e9
"""OpenVINO and NNCF."""
QUANTIZE_BYTES_A_WEIGHT = 9
"""NNCF's memory for each weight of the constant that it is quantizing."""


def peak_bytes(plan: Plan) -> int:
    """Return the peak of anonymous memory in bytes: the larger of the two steps."""
    return round(max(_trace_bytes(plan), _quantize_bytes(plan)))


def _trace_bytes(plan: Plan) -> float:
    experts = sum(prod(t.shape) for t in plan.tensors if EXPERT.match(t.name))
    layers = plan.checkpoint.config.num_hidden_layers
    return TRACE_BYTES + TRACE_BYTES_A_LAYER * layers + TRACE_BYTES_AN_EXPERT_WEIGHT * experts


def _quantize_bytes(plan: Plan) -> float:
    quantized = [s for s in slots(matrices(plan)).values() if s.precision.dtype != FLOAT]
    largest = max((prod(s.shape) for s in quantized), default=0)
    return QUANTIZE_BYTES + plan.weight_bytes + QUANTIZE_BYTES_A_WEIGHT * largest
