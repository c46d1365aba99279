"""Which layout of a model on a cluster is taken, and why another one is refused.

Every device is used. One replica is preferred to several, since it answers a single request
fastest; few stages to many; experts are spread whole where cutting them would divide the groups of
their scales. A user's own numbers come first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from qdeploy.architectures.graph import GraphConfig
from qdeploy.errors import OutOfMemory, PlanError, Refusal
from qdeploy.planning.parallel import Cluster, Layout, Sizes, Spreader
from qdeploy.planning.shards import padded
from qdeploy.storage.sizes import size

MOST_NODES = 32
"""Most machines that are proposed where fewer do not hold a model."""


@dataclass(frozen=True)
class Wanted:
    """Sizes that a user asks for; None leaves one to the plan."""

    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert: bool | None = None

    @property
    def is_any(self) -> bool:
        """Whether anything is asked for."""
        return self != Wanted()

    def allows(self, sizes: Sizes) -> bool:
        pairs = (
            (self.tensor, sizes.tensor),
            (self.pipeline, sizes.pipeline),
            (self.data, sizes.data),
            (self.expert, sizes.expert),
        )
        return all(asked is None or asked == has for asked, has in pairs)

    def __str__(self) -> str:
        named = {"tensor": self.tensor, "pipeline": self.pipeline, "data": self.data}
        said = [f"{name} {number}" for name, number in named.items() if number is not None]
        return ", ".join(said) or "no sizes"


def choose(spreader: Spreader, cluster: Cluster, wanted: Wanted = Wanted()) -> Layout:
    """The layout to take.

    Raises:
        PlanError: no sizes use every device, or those that were asked for cannot work.
        OutOfMemory: none of them fits; the fix is what would.
    """
    found = layouts(spreader, cluster, wanted)
    if fitting := next((layout for layout in found if layout.fits), None):
        return fitting
    if found:
        raise _too_large(spreader, found)
    name, tried = spreader.model.name, _sizes(spreader, cluster, wanted)
    refusals = filter(None, (why_not(spreader, sizes) for sizes in tried[:1]))
    reason, fix = next(
        refusals,
        Refusal(
            f"{wanted} does not use {cluster.devices} devices",
            f"sizes whose product is {cluster.devices}",
        ),
    )
    said = f"{name} does not run with {tried[0]}: {reason}" if tried else reason
    raise PlanError(said, where=str(cluster), fix=_nearest(spreader, cluster) or fix)


def layouts(spreader: Spreader, cluster: Cluster, wanted: Wanted = Wanted()) -> list[Layout]:
    """Every layout that uses all devices and could work, preferred ones first, fitting or not."""
    possible = (s for s in _sizes(spreader, cluster, wanted) if why_not(spreader, s) is None)
    return [spreader.layout(sizes, cluster) for sizes in possible]


def why_not(spreader: Spreader, sizes: Sizes) -> Refusal | None:
    """Why vLLM would refuse these sizes for the model, whatever the memory; None if it would not.

    Sources, of vLLM 0.32: `config/model.py`, `layers/linear.py`, `models/qwen3_moe.py`,
    `layers/vocab_parallel_embedding.py`, and those of `Shards.broken_group`.
    """
    config, ranks = spreader.model.config, sizes.ways.experts
    if reason := _does_not_divide(config, sizes.tensor):
        could = [n for n in range(1, config.heads + 1) if not _does_not_divide(config, n)]
        near = [n for n in could if n < sizes.tensor][-1:]
        near += [n for n in could if n > sizes.tensor][:1]
        return Refusal(reason, "--tensor-parallel " + " or ".join(map(str, near)))
    if sizes.pipeline > config.layers:
        return Refusal(
            f"{sizes.pipeline} stages are more than the {config.layers} layers",
            f"--pipeline-parallel {config.layers} or less",
        )
    if sizes.expert and not config.experts:
        return Refusal("it has no experts to spread", "leave out --expert-parallel")
    if config.experts and ranks > config.experts:
        return Refusal(
            f"{ranks} ranks are more than the {config.experts} experts",
            "more stages, or fewer devices",
        )
    if reason := spreader.shards.broken_group(sizes.ways):
        spread = replace(sizes, expert=True)
        helps = config.experts and not spreader.shards.broken_group(spread.ways)
        otherwise = "fewer tensor-parallel ranks, or a profile with smaller groups"
        return Refusal(reason, "--expert-parallel: whole experts" if helps else otherwise)
    return None


def _does_not_divide(config: GraphConfig, tensor: int) -> str | None:
    """What so many tensor-parallel ranks do not divide, in words; None if they divide all."""
    if config.heads % tensor:
        return f"{tensor} tensor-parallel ranks do not divide the {config.heads} attention heads"
    if tensor % config.kv_heads and config.kv_heads % tensor:
        return (
            f"{tensor} tensor-parallel ranks and {config.kv_heads} key-value heads do not divide "
            "one another"
        )
    widths = {"vocabulary": padded(config.vocab_size)}
    if len(config.sparse_layers) < config.layers:
        widths["feed-forward block"] = config.intermediate
    for what, width in widths.items():
        if width % tensor:
            return f"{tensor} tensor-parallel ranks do not divide the {width} rows of the {what}"
    return None


def _sizes(spreader: Spreader, cluster: Cluster, wanted: Wanted) -> list[Sizes]:
    """Sizes that use every device, preferred ones first.

    Tensor-parallel ranks stay within a machine, and experts of a dense model are not thought of,
    unless a user asks otherwise.
    """
    devices = cluster.devices
    has_experts = spreader.model.config.experts or wanted.expert
    found = [
        Sizes(tensor, pipeline, devices // (tensor * pipeline), expert)
        for tensor, pipeline in product(_divisors(devices), repeat=2)
        if devices % (tensor * pipeline) == 0 and (wanted.tensor or cluster.per_node % tensor == 0)
        for expert in ((False, True) if has_experts and devices > pipeline else (False,))
    ]
    asked = [sizes for sizes in found if wanted.allows(sizes)]
    return sorted(asked, key=lambda sizes: (sizes.data, sizes.pipeline, sizes.expert))


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _nearest(spreader: Spreader, cluster: Cluster) -> str | None:
    """Options for the layout that would be taken, in the order of preference; None for none."""
    found = layouts(spreader, cluster)
    best = next((layout for layout in found if layout.fits), None)
    return options(best.sizes) if best else None


def options(sizes: Sizes) -> str:
    """The options of `qdeploy plan` and `serve` that ask for *sizes*."""
    said = [f"--tensor-parallel {sizes.tensor}", f"--pipeline-parallel {sizes.pipeline}"]
    said += [f"--data-parallel {sizes.data}"] if sizes.data > 1 else []
    said += ["--expert-parallel"] if sizes.expert else []
    return " ".join(said)


def _too_large(spreader: Spreader, found: list[Layout]) -> OutOfMemory:
    """The error for a model of which no layout fits; about the one that comes nearest."""
    best = max(found, key=lambda layout: layout.fullest.room)
    stage, cluster, context = best.fullest, best.cluster, best.context
    cache = context * stage.cache_of_token
    fixes = []
    if shorter := best.cache_tokens:
        fixes.append(f"--context {shorter} or less")
    if nodes := _enough_nodes(spreader, cluster):
        fixes.append(f"--nodes {nodes}")
    fixes.append("devices with more memory, or a profile of fewer bits")
    needed = stage.weights + stage.activations + cache
    return OutOfMemory(
        f"with {best.sizes}, a rank of layers {stage.first} to {stage.last} of "
        f"{spreader.model.name} needs {size(needed)} for a context of {context} tokens (weights "
        f"{size(stage.weights)}, cache {size(cache)}, a pass {size(stage.activations)}); "
        f"{size(cluster.usable_bytes)} of {size(cluster.memory_bytes)} can be planned for",
        where=str(cluster),
        fix=", or ".join(fixes),
    )


def _enough_nodes(spreader: Spreader, cluster: Cluster) -> int | None:
    """How many such machines hold the model; None if no number of them does."""
    for nodes in range(cluster.nodes + 1, MOST_NODES + 1):
        if any(layout.fits for layout in layouts(spreader, replace(cluster, nodes=nodes))):
            return nodes
    return None
