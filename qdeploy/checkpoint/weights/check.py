"""The tensors that a checkpoint of a known architecture must have: they follow from its config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.schemes.settings import original
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.weights.misfit import SAME, Shape, Shapes, find_fix
from qdeploy.errors import CheckpointError

SHOWN = 5
"""Tensors named in an error, of each kind of mistake."""


def expected_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of the graph by its name, in the order of the layers."""
    return checkpoint.architecture.tensors(checkpoint.graph(None))


def check_weights(checkpoint: Checkpoint) -> None:
    """Check that the checkpoint holds the weights that its config asks for, and no others.

    Raises:
        CheckpointError: the first few missing, unexpected, wrongly shaped and wrongly typed
            weights by name, and how many there are.
    """
    held = {weight.name: weight.source for weight in checkpoint.weights}
    _check_counts(checkpoint, len(held))
    wanted = {name: tensor.shape for name, tensor in expected_tensors(checkpoint).items()}
    unreadable = _listed("unreadable", _unreadable(wanted, held))
    missing = [name for name in wanted if name not in held]
    unexpected = [name for name in held if name not in wanted]
    wrong = dict(_wrong_shapes(wanted, held))
    found = [
        *_listed("missing", missing),
        *_listed("unexpected", unexpected),
        *_listed("of the wrong shape", (f"{name} {shapes}" for name, shapes in wrong.items())),
        *unreadable,
    ]
    if found == unreadable != []:
        raise CheckpointError(
            "weights cannot be read as config.json describes them\n  " + "\n  ".join(found),
            where=checkpoint.folder,
            fix=original(checkpoint.folder),
        )
    if found:
        lines = ["the weights are not those that config.json describes", *found]
        lines += checkpoint.decided  # it may have been the wrong choice
        raise CheckpointError(
            "\n  ".join(lines),
            where=checkpoint.folder,
            fix=find_fix(missing, [*unexpected, *checkpoint.dropped], wrong),
        )


def _check_counts(checkpoint: Checkpoint, held: int) -> None:
    """Refuse a config of more layers or experts than tensors, before listing all their names.

    Raises:
        CheckpointError: so many, or the width of a layer is left out.
    """
    config, where = checkpoint.decoder, checkpoint.folder / "config.json"
    if (modules := config.modules(held)) > held:
        what = f"it asks for {modules} layers and experts; there are {held} tensors"
        raise CheckpointError("\n  ".join((what, *checkpoint.decided)), where=where, fix=SAME)
    layers = config.num_hidden_layers
    sparse = sum(map(config.is_sparse, range(layers)))
    if sparse and not config.moe_intermediate_size:
        raise CheckpointError("'moe_intermediate_size' is missing", where=where, fix=SAME)
    if sparse < layers and not config.intermediate_size:
        raise CheckpointError("'intermediate_size' is missing", where=where, fix=SAME)


def _wrong_shapes(
    wanted: Mapping[str, Shape], held: Mapping[str, Source]
) -> Iterator[tuple[str, Shapes]]:
    for name, shape in wanted.items():
        if name in held and held[name].shape != shape and not held[name].why_not():
            yield name, Shapes(held[name].shape, shape)


def _unreadable(wanted: Mapping[str, Shape], held: Mapping[str, Source]) -> Iterator[str]:
    for name in wanted:
        if name in held and (problem := held[name].why_not()):
            yield f"{name} {problem}"


def _listed(kind: str, names: Iterable[Any]) -> list[str]:
    """One line that counts the mistakes of a kind and names the first few; none for none."""
    every = list(names)
    if not every:
        return []
    more = f", and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return [f"{len(every)} {kind}: {', '.join(every[:SHOWN])}{more}"]
