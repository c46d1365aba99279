"""Which inputs of a plan's linear layers are rounded to int8, and which can be smoothed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qdeploy.calibration.smoothing.sites import Site, find_sites
from qdeploy.planning.plan import Plan

STATIC = "int8-static"
"""The value of `graph.input_activations` for one scale, and not one for each token."""


def is_static(plan: Plan) -> bool:
    """Whether all tokens of an input share a scale."""
    return plan.profile.graph.input_activations == STATIC


def rounded_sites(plan: Plan) -> tuple[Site, ...]:
    """The sites that only calibrated weights of eight bits read.

    Their channels can be scaled where what makes them is a vector, or calibrated as well: a row's
    scale then changes, and no code.
    """
    if plan.profile.graph.inputs_dtype != "int8":
        return ()
    return tuple(_sites(plan))


def _sites(plan: Plan) -> Iterator[Site]:
    checkpoint = plan.checkpoint
    calibrated = {t.source for t in plan.tensors if t.calibrated and t.precision.dtype == "int8"}
    vectors = {weight.name for weight in checkpoint.weights if len(weight.shape) == 1}
    for site in find_sites(checkpoint.architecture, checkpoint.graph(plan.rope_scaling)):
        if not calibrated.issuperset(site.readers):
            continue
        scaled = (calibrated | vectors).issuperset(site.makers)
        yield site if scaled else replace(site, makers=())
