"""`verify`: text, float model and bundle, in this order, against transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from qdeploy.bundle import Bundle, open_bundle
from qdeploy.checkpoint.weights import check_weights, open_weights
from qdeploy.deploy import run
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.evaluate.match import find_source
from qdeploy.planning.plan import Plan
from qdeploy.storage.sizes import size
from qdeploy.system.info import usable_memory_bytes
from qdeploy.verification import bundle as bundles
from qdeploy.verification import float_model
from qdeploy.verification.libraries import require, tools
from qdeploy.verification.outcome import Check, Outcome
from qdeploy.verification.text import Peer, compare_stops, compare_text
from qdeploy.verification.transformers_model import LoadReport, Reading, TransformersModel

Ids = tuple[int, ...]
Stage = Callable[[str], None]
"""Called with the title of what is done next."""

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")
"""An adapter with one of these brings its own tokenizer."""
TEMPLATE = "chat_template.jinja"
WINDOW, WINDOWS = 256, 2
"""Tokens of a passage that the models read, and the most passages."""
ROOM = 0.9
"""Fraction of the memory that the other side's weights and the logits may take."""


def verify(
    bundle: Path,
    model: str,
    *,
    adapter: Path | None = None,
    target: str | None = None,
    device: run.Which = 0,
    backend: str | None = None,
    simulate: bool = False,
    threads: int | None = None,
    stage: Stage = lambda title: None,
) -> Outcome:
    """Compare *bundle* with what transformers makes of the checkpoint *model*.

    Args:
        bundle: a bundle's directory.
        model: name or directory of the checkpoint that it was exported from.
        adapter: directory of the adapter that was merged into it.
        target: where to run it; see `deploy.run.choose`, also for the next three.
        device: number or id.
        backend: name.
        simulate: on the target's simulated device.
        threads: of the runtime; None is its default here.
        stage: called when a part begins.

    Raises:
        InputError: another checkpoint than the bundle's, or one too large for this machine.
        CheckpointError: one that transformers or qdeploy cannot load.
        TargetUnavailable: transformers or torch is not installed.
    """
    for library in ("torch", "transformers"):
        require(library)
    judged = open_bundle(bundle, full=True)
    source = find_source(judged, model, adapter=adapter)
    _check_memory(judged, source)

    stage("text")
    peer = _peer(source, adapter)
    checks, texts = compare_text(judged.path, peer)

    stage("transformers' float model")
    passages = _passages(texts, min(WINDOW, judged.manifest.model.context_length))
    theirs, report, stops = _read(source, adapter, passages)
    generates = source.checkpoint.task.generates
    if generates:
        checks.append(compare_stops(judged.path, stops, peer))

    stage("qdeploy's float model")
    ours = _read_own(source, passages)
    layers = float_model.compare_layers(theirs, ours)
    checks += [
        float_model.check_loading(report, source.checkpoint.dropped),
        float_model.check_layers(layers),
        float_model.check_logits(theirs, ours, passages)
        if generates
        else float_model.check_encodings(theirs, ours),
    ]

    stage("bundle")
    absent = None
    try:
        choice = run.choose(
            judged, target=target, backend=backend, device=device, simulate=simulate
        )
        compare = bundles.compare_bundle if generates else bundles.compare_encoder
        checks.append(compare(judged, choice, passages, theirs, threads=threads))
    except TargetUnavailable as error:
        absent = error
        checks.append(Check(bundles.PART, "output", "", skipped=error.reason))
    return Outcome(
        judged.path, source.checkpoint.name, tools(), tuple(checks), tuple(layers), absent
    )


def _read(
    source: Plan, adapter: Path | None, passages: Sequence[Ids]
) -> tuple[list[Reading], LoadReport, frozenset[int]]:
    """Load transformers' model, and free it again.

    Returns:
        What it computes for each passage, what it reports of loading, and its stop tokens.
    """
    task = source.checkpoint.task
    model = TransformersModel(
        source.checkpoint.folder, task, adapter=adapter, rope_scaling=source.rope_scaling
    )
    try:
        stops = model.stop_ids if task.generates else frozenset()
        return [model.read(ids) for ids in passages], model.report, stops
    finally:
        model.close()


def _read_own(source: Plan, passages: Sequence[Ids]) -> list[Reading]:
    checkpoint = source.checkpoint
    check_weights(checkpoint)
    graph = checkpoint.graph(source.rope_scaling)
    with open_weights(checkpoint) as weights:
        return float_model.read_own(weights, checkpoint.architecture, graph, passages)


def _peer(source: Plan, adapter: Path | None) -> Peer:
    """The tokenizer that the model is prompted with: an adapter's own comes first.

    An adapter may bring a chat template alone, which then replaces the base's.
    """
    if adapter and any((adapter / name).is_file() for name in TOKENIZERS):
        return Peer(adapter)
    alone = adapter / TEMPLATE if adapter else None
    return Peer(
        source.checkpoint.folder,
        template=alone.read_text(encoding="utf-8") if alone and alone.is_file() else None,
    )


def _passages(texts: Sequence[Ids], window: int) -> list[Ids]:
    """The first tokens of all texts, one after the other, in passages of *window* tokens."""
    ids = tuple(chain.from_iterable(texts))[: WINDOWS * window]
    return [ids[at : at + window] for at in range(0, len(ids), window)]


def _check_memory(judged: Bundle, source: Plan) -> None:
    """Refuse a model whose float32 weights and logits do not fit into this machine's memory.

    Raises:
        InputError: it does not fit.
    """
    model = judged.manifest.model
    needed = 4 * (model.parameters + 2 * WINDOW * WINDOWS * model.vocab_size)
    memory = usable_memory_bytes()
    if memory and needed > ROOM * memory:
        raise InputError(
            f"transformers takes {size(needed)} of memory for it in float32; this machine "
            f"has {size(memory)}",
            where=source.checkpoint.name,
            fix=f"verify it on a larger machine; here, qdeploy eval {judged.path} --reference "
            f"{source.checkpoint.name} compares it with the float model that qdeploy streams",
        )
