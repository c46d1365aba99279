"""The tensors that a Qwen3 or Qwen3-MoE checkpoint must have, told by its config alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qdeploy.architectures.config import Qwen3
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.errors import CheckpointError

Shape = tuple[int, ...]

FLOATS = ("BF16", "F16", "F32")
FP8 = "F8_E4M3"
SCALE_SUFFIX = "_scale_inv"
"""What the scales of an FP8 tensor are called, after its name."""
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


def expected_tensors(config: Qwen3) -> dict[str, Shape]:
    """Name and shape of every tensor, in the order of the layers; a tied lm_head is not there."""
    return dict(_tensors(config))


def check_weights(checkpoint: Checkpoint) -> None:
    """Check that the checkpoint holds the tensors that its config asks for, and no others.

    An lm_head that is tied to the embedding may be stored all the same, as in the hub's Qwen3-0.6B;
    an FP8 tensor comes with its scales.

    Raises:
        CheckpointError: the first few missing, unexpected, wrongly shaped and wrongly typed
            tensors by name, and how many there are.
    """
    config, held = checkpoint.qwen3, {t.name: t for t in checkpoint.tensors}
    block = fp8_block(checkpoint)
    _check_counts(config, len(held), checkpoint.folder / "config.json")
    wanted = expected_tensors(config)
    optional = {}
    if config.tie_word_embeddings:
        optional["lm_head.weight"] = wanted["model.embed_tokens.weight"]
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


def _tensors(config: Qwen3) -> Iterator[tuple[str, Shape]]:
    hidden = config.hidden_size
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        yield f"{prefix}input_layernorm.weight", (hidden,)
        yield from _attention(f"{prefix}self_attn.", config)
        yield f"{prefix}post_attention_layernorm.weight", (hidden,)
        if not config.is_sparse(layer):
            yield from _mlp(f"{prefix}mlp.", hidden, config.intermediate_size or 0)
            continue
        experts = config.num_experts or 0
        yield f"{prefix}mlp.gate.weight", (experts, hidden)
        for expert in range(experts):
            wide = config.moe_intermediate_size or 0
            yield from _mlp(f"{prefix}mlp.experts.{expert}.", hidden, wide)
    yield "model.norm.weight", (hidden,)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)


def _attention(prefix: str, config: Qwen3) -> Iterator[tuple[str, Shape]]:
    hidden, head = config.hidden_size, config.head_dim
    query, key = config.num_attention_heads * head, config.num_key_value_heads * head
    yield f"{prefix}q_proj.weight", (query, hidden)
    yield f"{prefix}k_proj.weight", (key, hidden)
    yield f"{prefix}v_proj.weight", (key, hidden)
    yield f"{prefix}q_norm.weight", (head,)
    yield f"{prefix}k_norm.weight", (head,)
    yield f"{prefix}o_proj.weight", (hidden, query)


def _mlp(prefix: str, hidden: int, wide: int) -> Iterator[tuple[str, Shape]]:
    yield f"{prefix}gate_proj.weight", (wide, hidden)
    yield f"{prefix}up_proj.weight", (wide, hidden)
    yield f"{prefix}down_proj.weight", (hidden, wide)


def _check_counts(config: Qwen3, held: int, where: object) -> None:
    """Refuse a config of more layers or experts than tensors, before listing all their names.

    Raises:
        CheckpointError: so many, or the width of a layer is left out.
    """
    layers = config.num_hidden_layers
    sparse = sum(map(config.is_sparse, range(layers))) if layers <= held else 0
    modules = layers + sparse * (config.num_experts or 0)
    if modules > held:
        raise CheckpointError(
            f"it asks for {modules} layers and experts; there are {held} tensors", where=where
        )
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
        # scales say that the checkpoint is FP8 and tell how to read it
        if dtype not in FLOATS and not (dtype == FP8 and name + SCALE_SUFFIX in wanted):
            yield f"{name} {dtype}"


def _listed(kind: str, names: Iterable[Any]) -> list[str]:
    """One line that counts the mistakes of a kind and names the first few; none for none."""
    every = list(names)
    if not every:
        return []
    more = f", and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return [f"{len(every)} {kind}: {', '.join(every[:SHOWN])}{more}"]
