"""The tensors that a checkpoint of a known architecture must have: they follow from its config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qdeploy.architectures.config import DecoderConfig
from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.headers import SCALE_SUFFIX, TensorInfo
from qdeploy.errors import CheckpointError

Shape = tuple[int, ...]

FLOATS = ("BF16", "F16", "F32")
FP8 = "F8_E4M3"
SHOWN = 5
"""Tensors named in an error, of each kind of mistake."""


def fp8_block(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Rows and columns that share a scale in an FP8 checkpoint; None where it is not quantized.

    Raises:
        CheckpointError: quantized in another way.
    """
    how = checkpoint.config.quantization_config
    if not how:
        return None
    where = checkpoint.folder / "config.json"
    if (method := how.get("quant_method")) != "fp8":
        raise CheckpointError(
            f"quantized already, by {method!r}", where=where, fix="use the original checkpoint"
        )
    match how.get("weight_block_size"):
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return rows, columns
        case other:
            raise CheckpointError(
                f"'weight_block_size' is {other!r}, not two positive numbers", where=where
            )


def expected_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor by its name, in the order of the layers, without a tied lm_head."""
    return checkpoint.architecture.tensors(checkpoint.decoder.graph(None))


def check_weights(checkpoint: Checkpoint) -> None:
    """Check that the checkpoint holds the tensors that its config asks for, and no others.

    An lm_head that is tied to the embedding may be stored all the same, as in the hub's Qwen3-0.6B;
    an FP8 tensor comes with its scales.

    Raises:
        CheckpointError: the first few missing, unexpected, wrongly shaped and wrongly typed
            tensors by name, and how many there are.
    """
    config, held = checkpoint.decoder, {t.name: t for t in checkpoint.tensors}
    block = fp8_block(checkpoint)
    _check_counts(config, len(held), checkpoint.folder / "config.json")
    wanted = {name: tensor.shape for name, tensor in expected_tensors(checkpoint).items()}
    optional = {}
    if unused := checkpoint.unused_head:
        optional[unused] = wanted[checkpoint.architecture.head(config.graph(None))]
    for name, shape in (wanted | optional).items():
        if block and len(shape) == 2 and name in held and held[name].dtype == FP8:
            wanted[name + SCALE_SUFFIX] = scale_shape(shape, block)
    found = [
        *_listed("missing", (n for n in wanted if n not in held)),
        *_listed("unexpected", (n for n in held if n not in wanted and n not in optional)),
        *_listed("of the wrong shape", _wrong_shapes(wanted | optional, held)),
        *_listed("of the wrong type", _wrong_types(wanted | optional, held)),
    ]
    if found:
        raise CheckpointError(
            "the weights are not those that config.json describes\n  " + "\n  ".join(found),
            where=checkpoint.folder,
            fix="download the checkpoint again, its config.json included",
        )


def scale_shape(shape: Shape, block: tuple[int, int]) -> Shape:
    """Shape of the scales of an FP8 matrix: one a block, those at the edges included."""
    return tuple(-(-size // side) for size, side in zip(shape, block, strict=True))


def _check_counts(config: DecoderConfig, held: int, where: object) -> None:
    """Refuse a config of more layers or experts than tensors, before listing all their names.

    Raises:
        CheckpointError: so many, or the width of a layer is left out.
    """
    if (modules := config.modules(held)) > held:
        raise CheckpointError(
            f"it asks for {modules} layers and experts; there are {held} tensors", where=where
        )
    layers = config.num_hidden_layers
    sparse = sum(map(config.is_sparse, range(layers)))
    if sparse and not config.moe_intermediate_size:
        raise CheckpointError("'moe_intermediate_size' is missing", where=where)
    if sparse < layers and not config.intermediate_size:
        raise CheckpointError("'intermediate_size' is missing", where=where)


def _wrong_shapes(wanted: Mapping[str, Shape], held: Mapping[str, TensorInfo]) -> Iterator[str]:
    for name, shape in wanted.items():
        if name in held and held[name].shape != shape:
            yield f"{name} {list(held[name].shape)}, not {list(shape)}"


def _wrong_types(wanted: Mapping[str, Shape], held: Mapping[str, TensorInfo]) -> Iterator[str]:
    for name in wanted:
        dtype = held[name].dtype if name in held else FLOATS[0]
        # scales say that the checkpoint is FP8 and how to read it
        if dtype not in FLOATS and not (dtype == FP8 and name + SCALE_SUFFIX in wanted):
            yield f"{name} {dtype}"


def _listed(kind: str, names: Iterable[Any]) -> list[str]:
    """One line that counts the mistakes of a kind and names the first few; none for none."""
    every = list(names)
    if not every:
        return []
    more = f", and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return [f"{len(every)} {kind}: {', '.join(every[:SHOWN])}{more}"]
