"""Check, before any computation, that a bundle and its reference are of the same model."""

from __future__ import annotations

from pathlib import Path

from qdeploy import registry
from qdeploy.bundle import Bundle, ModelIdentity
from qdeploy.checkpoint import hub
from qdeploy.errors import CheckpointError, InputError
from qdeploy.evaluate.original import is_original
from qdeploy.evaluate.reference import FloatReference
from qdeploy.planning.plan import Plan, make_plan

ALLOW = "--allow-other-model"


def open_reference(
    judged: Bundle, model: str, *, adapter: Path | None, allow_other: bool
) -> FloatReference:
    """Open the checkpoint *model* as the reference of a bundle.

    Raises:
        InputError: of another model than the bundle, and *allow_other* does not hold; or with
            another vocabulary, in any case.
        CheckpointError: the architecture is unknown, or the checkpoint cannot be read.
    """
    found = find_source(
        judged, model, adapter=adapter, allow_other=allow_other, allow=ALLOW, allow_original=True
    )
    return FloatReference(found.checkpoint, found.digest, rope_scaling=found.rope_scaling)


def find_source(
    judged: Bundle,
    model: str,
    *,
    adapter: Path | None,
    allow_other: bool = False,
    allow: str | None = None,
    allow_original: bool = False,
) -> Plan:
    """Find the checkpoint that a bundle was made from, as the plan of that bundle.

    Args:
        judged: the bundle.
        model: name or directory of the checkpoint.
        adapter: directory of the adapter that was merged into the bundle.
        allow_other: take another model with the same vocabulary too.
        allow: the option that sets it, for messages.
        allow_original: take the float original of a checkpoint that was quantized already, too.

    Raises:
        InputError: of another model than the bundle.
        CheckpointError: the architecture is unknown, or the checkpoint cannot be read.
    """
    manifest = judged.manifest
    otherwise = f", or {allow}" if allow else ""
    merged = manifest.plan.get("adapter")
    if merged and not adapter and not allow_other:
        raise InputError(
            f"the bundle has the adapter {merged!r} merged into it",
            where=judged.path,
            fix=f"--adapter DIR, the folder of {merged}",
        )
    task = manifest.task
    checkpoint = hub.resolve(model, adapter=adapter, task=task.name)
    if problem := checkpoint.decoder.why_not():
        raise CheckpointError(
            f"the reference cannot be computed: {problem}", where=checkpoint.folder / "config.json"
        )
    config = checkpoint.config
    _check_vocabulary(manifest.model.vocab_size, config.vocab_size, where=model)
    if manifest.model.architecture != config.name and not allow_other:
        raise InputError(
            f"a {config.name}; the bundle is of {manifest.model.name}, a "
            f"{manifest.model.architecture}",
            where=model,
            fix=f"give the checkpoint that the bundle was made from{otherwise}",
        )
    if checkpoint.task != task:
        raise InputError(
            f"it is to {checkpoint.task}, and the bundle to {task}",
            where=model,
            fix="give the checkpoint that the bundle was made from",
        )
    resolved = make_plan(
        checkpoint,
        manifest.profile,
        registry.target(manifest.target),
        format_row=registry.format_of(manifest.profile),
        context=manifest.model.context_length,
        requantize=True,  # nothing is exported, so codes need not be kept
    )
    same = resolved.digest == manifest.model.digest
    original = allow_original and not same and is_original(checkpoint, judged)
    if not (same or allow_other or original):
        raise InputError(
            f"not the checkpoint that the bundle was made from ({manifest.model.name}): other "
            "weights, tokenizer or config",
            where=model,
            fix=f"give that one{otherwise}",
        )
    return resolved


def check_pair(reference: Bundle, judged: Bundle, *, allow_other: bool) -> None:
    """Check that two bundles were exported from the same checkpoint, for the same task.

    Raises:
        InputError: the checkpoints differ and *allow_other* is false, or the vocabularies or the
            tasks differ.
    """
    tasks = [bundle.manifest.task for bundle in (reference, judged)]
    if tasks[0] != tasks[1]:
        raise InputError(
            f"the bundles are for different tasks, to {tasks[0]} and to {tasks[1]}",
            where=judged.path,
            fix="compare bundles of one task",
        )
    a, b = reference.manifest.model, judged.manifest.model
    _check_vocabulary(b.vocab_size, a.vocab_size, where=reference.path)
    if a.digest != b.digest and not allow_other:
        raise InputError(
            f"the bundles are of different checkpoints: {_labelled(a)} and {_labelled(b)}",
            where=judged.path,
            fix=f"compare bundles of one checkpoint, or {ALLOW}",
        )


def _check_vocabulary(bundles: int, references: int, *, where: object) -> None:
    if bundles != references:
        raise InputError(
            f"a vocabulary of {references} tokens; the bundle's has {bundles}, so the predictions "
            "cannot be compared",
            where=where,
            fix="give the checkpoint that the bundle was made from",
        )


def _labelled(model: ModelIdentity) -> str:
    return f"{model.name} ({model.digest[:12]})"
