"""The tensors that a Qwen3 or Qwen3-MoE checkpoint must have, told by its config alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator

from qdeploy.checkpoint import Architecture, Checkpoint
from qdeploy.errors import CheckpointError
from qdeploy.strict import fault
from qdeploy.tensors import TensorInfo, read_json

Shape = tuple[int, ...]

FLOATS = ("BF16", "F16", "F32")
FP8 = "F8_E4M3"
SCALE_SUFFIX = "_scale_inv"
"""What the scales of an FP8 tensor are called, after its name."""
SHOWN = 5
"""Tensors named in an error, of each kind of mistake."""


class Layout(Architecture):
    """The parts of `config.json` that decide which tensors there are; defaults as in transformers.

    Attributes:
        decoder_sparse_step: every so many layers, one has experts.
        mlp_only_layers: layers without experts besides.
    """

    decoder_sparse_step: int = Field(default=1, gt=0)
    mlp_only_layers: tuple[int, ...] = ()

    @field_validator("mlp_only_layers", mode="before")
    @classmethod
    def _none_is_no_layer(cls, value: object) -> object:
        return () if value is None else value

    def is_sparse(self, layer: int) -> bool:
        """Whether a layer, counted from 0, has experts: the rule of `Qwen3MoeDecoderLayer`."""
        return (
            self.is_moe
            and layer not in self.mlp_only_layers
            and (layer + 1) % self.decoder_sparse_step == 0
        )


def read_layout(checkpoint: Checkpoint) -> Layout:
    """Read the layout from the checkpoint's `config.json`.

    Raises:
        CheckpointError: a value that cannot be, with its key.
    """
    file = checkpoint.folder / "config.json"
    try:
        return Layout.model_validate(read_json(file))
    except ValidationError as error:
        key, complaint = fault(error)
        raise CheckpointError(f"{key!r}: {complaint}", where=file) from None


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


def expected(layout: Layout) -> dict[str, Shape]:
    """Name and shape of every tensor, in the order of the layers; a tied lm_head is not there."""
    return dict(_tensors(layout))


def check(checkpoint: Checkpoint) -> None:
    """Check that the checkpoint holds the tensors that its config asks for, and no others.

    An lm_head that is tied to the embedding may be stored all the same, as in the hub's Qwen3-0.6B;
    an FP8 tensor comes with its scales.

    Raises:
        CheckpointError: the first few missing, unexpected, wrongly shaped and wrongly typed
            tensors by name, and how many there are.
    """
    layout, held = read_layout(checkpoint), {t.name: t for t in checkpoint.tensors}
    block = fp8_block(checkpoint)
    _check_counts(layout, len(held), checkpoint.folder / "config.json")
    wanted = expected(layout)
    optional = {}
    if layout.tie_word_embeddings:
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


def _tensors(layout: Layout) -> Iterator[tuple[str, Shape]]:
    hidden = layout.hidden_size
    yield "model.embed_tokens.weight", (layout.vocab_size, hidden)
    for layer in range(layout.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        yield f"{prefix}input_layernorm.weight", (hidden,)
        yield from _attention(f"{prefix}self_attn.", layout)
        yield f"{prefix}post_attention_layernorm.weight", (hidden,)
        if not layout.is_sparse(layer):
            yield from _mlp(f"{prefix}mlp.", hidden, layout.intermediate_size or 0)
            continue
        experts = layout.num_experts or 0
        yield f"{prefix}mlp.gate.weight", (experts, hidden)
        for expert in range(experts):
            wide = layout.moe_intermediate_size or 0
            yield from _mlp(f"{prefix}mlp.experts.{expert}.", hidden, wide)
    yield "model.norm.weight", (hidden,)
    if not layout.tie_word_embeddings:
        yield "lm_head.weight", (layout.vocab_size, hidden)


def _attention(prefix: str, layout: Layout) -> Iterator[tuple[str, Shape]]:
    hidden, head = layout.hidden_size, layout.head_dim
    query, key = layout.num_attention_heads * head, layout.num_key_value_heads * head
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


def _check_counts(layout: Layout, held: int, where: object) -> None:
    """Refuse a config of more layers or experts than tensors, before listing all their names.

    Raises:
        CheckpointError: so many, or the width of a layer is left out.
    """
    layers = layout.num_hidden_layers
    sparse = sum(map(layout.is_sparse, range(layers))) if layers <= held else 0
    modules = layers + sparse * (layout.num_experts or 0)
    if modules > held:
        raise CheckpointError(
            f"it asks for {modules} layers and experts; there are {held} tensors", where=where
        )
    if sparse and not layout.moe_intermediate_size:
        raise CheckpointError("'moe_intermediate_size' is missing", where=where)
    if sparse < layers and not layout.intermediate_size:
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
