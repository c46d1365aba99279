"""A bundle over several machines: how it is spread, and what each machine runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qdeploy.bundle import Bundle
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.engines.vllm import environment
from qdeploy.engines.vllm.accelerators import accelerator_of
from qdeploy.engines.vllm.command import DTYPES, Served
from qdeploy.engines.vllm.environment import Environment
from qdeploy.engines.vllm.nodes import Node, describe
from qdeploy.engines.vllm.spread import Spread
from qdeploy.errors import InputError, PlanError, TargetUnavailable
from qdeploy.planning.device_memory import CHUNK, of_bundle
from qdeploy.planning.formats import SAFETENSORS
from qdeploy.planning.layouts import Wanted, choose, why_not
from qdeploy.planning.parallel import Cluster, Sizes, Spreader
from qdeploy.planning.profile import FLOAT_BYTES

PORT = 8100
"""Of vLLM's API in commands that are printed."""


def spread(
    bundle: Bundle,
    nodes: tuple[Node, ...],
    wanted: Wanted,
    *,
    cluster: Cluster | None,
    way: str,
    context: int | None = None,
) -> Spread:
    """How vLLM is to spread a bundle over *nodes*.

    Args:
        bundle: of the format `safetensors`.
        nodes: the first one is this machine.
        wanted: sizes that the user asks for.
        cluster: the devices of all nodes; None where their ranks run on CPUs.
        way: `plain` or `ray`.
        context: tokens of the longest sequence; None is the bundle's.

    Raises:
        InputError: vLLM does not load the bundle's format.
        PlanError: no sizes work.
        OutOfMemory: it does not fit; the fix is what would.
    """
    manifest = bundle.manifest
    if manifest.format != SAFETENSORS.name:
        raise InputError(
            f"several machines share a bundle by vLLM, which does not load the format "
            f"{manifest.format}",
            where=bundle.path,
            fix=f"export it with a profile of the format {SAFETENSORS.name}",
        )
    longest = min(context or manifest.model.context_length, manifest.model.context_length)
    model = of_bundle(
        read_checkpoint(bundle.path, name=manifest.model.name),
        manifest.plan.get("rope_scaling"),
        longest=longest,
        float_bytes=FLOAT_BYTES[manifest.profile.graph.activations],
        chunk=CHUNK,
    )
    spreader = Spreader(model, longest)
    if cluster is not None:
        return Spread(nodes, choose(spreader, cluster, wanted).sizes, way)
    sizes = _on_cpus(len(nodes), wanted)
    if refusal := why_not(spreader, sizes):
        raise PlanError(
            f"{model.name} does not run with {sizes}: {refusal.reason}", fix=refusal.fix
        )
    return Spread(nodes, sizes, way)


def _on_cpus(nodes: int, wanted: Wanted) -> Sizes:
    """Sizes with a rank on each node, unless the user asks for others."""
    given = Sizes(wanted.tensor or 1, wanted.pipeline or 1, wanted.data or 1, bool(wanted.expert))
    asked = wanted.tensor or wanted.pipeline or wanted.data
    return given if asked else replace(given, tensor=nodes)


def commands(
    bundle: Bundle, target: str, found: Spread, *, context: int | None, concurrency: int
) -> list[str]:
    """Lines for people: what to run on each machine, in order; it needs no vLLM here.

    Raises:
        InputError: vLLM has no nodes of the target, or ranks are no whole number on each node.
    """
    manifest = bundle.manifest
    accelerator_of(target)
    longest = min(context or manifest.model.context_length, manifest.model.context_length)
    served = Served(
        target,
        bundle.path.resolve(),
        manifest.model.name,
        DTYPES[manifest.profile.graph.activations],
        longest,
        concurrency,
    )
    return describe(found.server(_environment(target), served, PORT).members())


def _environment(target: str) -> Environment:
    """The environment with vLLM here, or that of whoever runs the commands."""
    try:
        return environment.find(target)
    except TargetUnavailable:
        return Environment(Path("python3"), "", {})
