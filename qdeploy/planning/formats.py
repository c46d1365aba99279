"""Bundle formats: one row each, with the file names, the sizes and the options of the format.

A quantized weight of N rows and K columns in groups of g takes N*K*bits/8 bytes of codes. Each of
its N*ceil(K/g) groups has a scale and, where asymmetric, a zero point of the codes' width.

Exporters and backends read file names from the row. A third party brings a row of its own through
the entry-point group `qdeploy.formats`; `qdeploy.registry` offers all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Literal

from qdeploy.architectures.config import ModelConfig
from qdeploy.architectures.task import GENERATE, Task
from qdeploy.errors import ProfileError, did_you_mean
from qdeploy.planning.profile import FLOAT_BYTES, Graph, Profile
from qdeploy.quantization.precision import PER_CHANNEL, Precision, ScaleType

OPENVINO_LAYER = 110_000
"""Bytes of openvino_model.xml a layer: 100 to 137 thousand measured on Qwen3 and Qwen3-MoE."""
ONNX_LAYER = 7_500
"""Bytes a layer of one ONNX graph: 6.2 to 9.6 thousand measured on the same, in every form."""
UNROLLED_EXPERT = 2_400
"""Bytes of one ONNX graph for each expert that is unrolled into operators of its own."""
SAFETENSORS_LINEAR = 360
"""Bytes of a header for the parts of a linear layer: 330 to 470 measured on Qwen3 and Qwen3-MoE."""
LINEARS_OF_A_LAYER, LINEARS_OF_AN_EXPERT = 8, 3
"""Four projections of attention and three of an MLP, with the layer's norms as one more."""


@dataclass(frozen=True)
class Storage:
    """What a format stores besides codes.

    Attributes:
        scale: bytes of a scale.
        matrix: bytes of an element of a float matrix.
        tokenizer: size of the runtime's own tokenizer files, in sizes of Qwen3's originals.
    """

    scale: int = 2
    matrix: int = 2
    tokenizer: float = 0.0

    def with_scales(self, kind: ScaleType) -> Storage:
        """The same with scales of *kind*, if those take more."""
        return replace(self, scale=max(self.scale, 4 if kind == "float32" else 2))


def _half(graph: Graph) -> Storage:
    return Storage()


def _no_graph(config: ModelConfig, graph: Graph, context: int) -> int:
    return 0


@dataclass(frozen=True)
class Together:
    """Linear weights that need one precision, since they are held or loaded as one.

    Attributes:
        inputs: those that read one input: query, key and value; gate and up.
        experts: of a layer's experts: `none` have to be equal; those of each `projection`; or the
            whole `block`.
    """

    inputs: bool
    experts: Literal["none", "projection", "block"]


ALL_TOGETHER = Together(inputs=True, experts="block")
"""What every reader of a format copes with."""


@dataclass(frozen=True)
class Format:
    """A bundle format. Two rows of one name are equal.

    Attributes:
        name: the word in profiles and manifests.
        files: file names by role. A name may be a pattern (`*.safetensors`), so that a role can
            have several files: shards of the weights. An export that lacks one of them fails.
        encoder: the roles that a bundle of an embedding or reranking model has; empty if the format
            holds generating models only.
        storage: what is stored besides codes, given the profile's `[graph]`.
        graph_bytes: bytes of everything that is not a weight, given the model's config, the
            profile's `[graph]` and the context in tokens.
        graph_options: keys of the profile's `[graph]` that the format has. `context` applies to
            every format and is not listed.
        activations: element types that `graph.activations` can be.
        unties_head: whether an lm_head that the model ties to its embedding is stored by itself
            where the profile gives it another precision.
        exporter: the default exporter; None is the first one installed that writes the format.
        peer: distribution of the library that runs such bundles without qdeploy, for
            `qdeploy bench --peer`; a backend provides it.
        loaded_by: a sentence for cards about what runs a generating model without qdeploy.
        cache_types: the runtime's names of the cache's element types, by the profile's
            `kv_cache.dtype`; empty if the type is part of the graph.
        together: which linear weights need one precision, given the profile's `[graph]`.
        groups_int8: whether int8 weights have groups, as int4 weights do; else one scale a row.
    """

    name: str
    files: Mapping[str, str] = field(default_factory=dict, compare=False)
    encoder: tuple[str, ...] = field(default=(), compare=False)
    storage: Callable[[Graph], Storage] = field(default=_half, compare=False)
    graph_bytes: Callable[[ModelConfig, Graph, int], int] = field(default=_no_graph, compare=False)
    graph_options: frozenset[str] = field(default=frozenset(), compare=False)
    activations: tuple[str, ...] = field(default=("fp32", "fp16"), compare=False)
    unties_head: bool = field(default=False, compare=False)
    exporter: str | None = field(default=None, compare=False)
    peer: str | None = field(default=None, compare=False)
    loaded_by: str = field(default="", compare=False)
    cache_types: Mapping[str, str] = field(default_factory=dict, compare=False)
    together: Callable[[Graph], Together] = field(default=lambda _: ALL_TOGETHER, compare=False)
    groups_int8: bool = field(default=False, compare=False)

    def missing(self, names: Iterable[str], task: Task = GENERATE) -> list[str]:
        """The files of the format, as names or patterns, that no name in *names* matches."""
        found, roles = list(names), self.files if task.generates else self.encoder
        wanted = [self.files[role] for role in roles]
        return [p for p in wanted if not any(fnmatchcase(n, p) for n in found)]

    def check(self, profile: Profile) -> None:
        """Refuse a profile that sets a graph option which the format does not have.

        Raises:
            ProfileError: with the option, or its value.
        """
        usual = Graph()
        for option in Graph.model_fields:
            if option == "context" or option in self.graph_options:
                continue
            if getattr(profile.graph, option) != getattr(usual, option):
                has = ", ".join(f"graph.{name}" for name in sorted(self.graph_options)) or "none"
                raise ProfileError(
                    f"profile {profile.name!r} sets graph.{option}, which the format {self.name} "
                    "does not have",
                    fix=f"remove graph.{option}; options of {self.name} besides context: {has}",
                )
        if profile.graph.activations not in self.activations:
            raise ProfileError(
                f"profile {profile.name!r} has activations in {profile.graph.activations}, which "
                f"the format {self.name} does not have",
                fix=f"set graph.activations to one of: {', '.join(self.activations)}",
            )


def _openvino_graph(config: ModelConfig, graph: Graph, context: int) -> int:
    return config.num_hidden_layers * OPENVINO_LAYER


def _onnx_graphs(config: ModelConfig, graph: Graph, context: int) -> int:
    """Three graphs, and the table with a cosine and a sine for each position and pair of a head."""
    unrolled = (config.num_experts or 0) if graph.experts == "unrolled" else 0
    graphs = 3 * config.num_hidden_layers * (ONNX_LAYER + unrolled * UNROLLED_EXPERT)
    return graphs + context * config.head_dim * FLOAT_BYTES[graph.activations]


def _onnx_together(graph: Graph) -> Together:
    """`QMoE` takes weights of one form; linear layers of several forms are several products."""
    return Together(inputs=False, experts="block" if graph.experts == "fused" else "none")


def _safetensors_headers(config: ModelConfig, graph: Graph, context: int) -> int:
    """Names, types and shapes in the headers of the files."""
    experts = LINEARS_OF_AN_EXPERT * (config.num_experts or 0)
    return config.num_hidden_layers * (LINEARS_OF_A_LAYER + experts) * SAFETENSORS_LINEAR


OPENVINO = Format(
    "openvino",
    files={
        "model": "openvino_model.xml",
        "weights": "openvino_model.bin",
        "tokenizer": "openvino_tokenizer.xml",
        "detokenizer": "openvino_detokenizer.xml",
    },
    encoder=("model", "weights"),
    storage=lambda _: Storage(tokenizer=0.7),
    graph_bytes=_openvino_graph,
    exporter="native",
    peer="openvino-genai",
    loaded_by="openvino-genai loads the folder as it is.",
    cache_types={"u8": "u8", "fp16": "f16", "bf16": "bf16", "fp32": "f32"},
    together=lambda _: Together(inputs=False, experts="projection"),
)
ONNX = Format(
    "onnx",
    files={
        "model": "model.onnx",
        "generate": "generate.onnx",
        "score": "score.onnx",
        "weights": "model.onnx.data",
        "genai_config": "genai_config.json",
    },
    encoder=("model", "weights"),
    storage=lambda graph: Storage(scale=FLOAT_BYTES[graph.activations]),
    graph_bytes=_onnx_graphs,
    graph_options=frozenset({"activations", "accuracy_level", "attention", "experts"}),
    exporter="native",
    peer="onnxruntime-genai",
    loaded_by="onnxruntime-genai loads the folder as it is.",
    together=_onnx_together,
    groups_int8=True,
)
ONNX_STATIC = Format(
    "onnx-static",
    files={"prefill": "prefill.onnx", "decode": "decode.onnx", "weights": "model.onnx.data"},
    storage=lambda graph: Storage(scale=4, matrix=FLOAT_BYTES[graph.activations]),
    graph_bytes=_onnx_graphs,
    graph_options=frozenset({"activations", "accuracy_level", "prefill"}),
    exporter="native",
    together=lambda _: Together(inputs=False, experts="none"),
)
ONNX_MASKED = -30_000.0
"""Bias of masked positions in the ONNX graphs' attention; the biases of `onnx-static` are an input.
The sum with any logit stays within float16."""
SAFETENSORS = Format(
    "safetensors",
    files={"weights": "*.safetensors"},
    storage=lambda graph: Storage(matrix=FLOAT_BYTES[graph.activations]),
    graph_bytes=_safetensors_headers,
    graph_options=frozenset({"activations", "input_activations"}),
    activations=("fp32", "fp16", "bf16"),
    unties_head=True,
    exporter="native",
    peer="transformers",
    loaded_by="The folder is a model directory with weights as compressed-tensors stores them: "
    "vLLM loads it as it is, and so does transformers, but for experts in codes.",
    # vLLM takes the form of a fused layer from its first part, and refuses experts of several
    # (compressed_tensors/utils.py, compressed_tensors_moe.py)
    together=lambda _: ALL_TOGETHER,
)

BUILT_IN: tuple[Format, ...] = (OPENVINO, ONNX, ONNX_STATIC, SAFETENSORS)


def format_of(profile: Profile, known: Iterable[Format] = BUILT_IN) -> Format:
    """The row of the profile's format.

    Raises:
        ProfileError: *known* has no such format.
    """
    rows = {row.name: row for row in known}
    if profile.format not in rows:
        raise ProfileError(
            f"profile {profile.name!r} has the unknown format {profile.format!r}",
            fix=did_you_mean(profile.format, rows),
        )
    return rows[profile.format]


def stored_bytes(shape: tuple[int, ...], precision: Precision, storage: Storage = Storage()) -> int:
    """Bytes that a tensor takes in a bundle at this precision (formula: module docstring)."""
    numel = prod(shape)
    if precision.dtype == "fp16":
        return storage.matrix * numel
    groups = group_count(shape, precision)
    zero_point_bits = precision.bits if precision.has_zero_points else 0
    codes, points = -(-numel * precision.bits // 8), -(-groups * zero_point_bits // 8)
    return codes + groups * storage.scale + points


def group_count(shape: tuple[int, ...], precision: Precision) -> int:
    """How many groups a quantized tensor has: parts of its rows, or blocks of 8-bit floats."""
    size, rows = precision.group_size, prod(shape[:-1])
    if size == PER_CHANNEL:
        return rows
    if precision.dtype == "fp8":
        rows = -(-rows // size)
    return rows * -(-shape[-1] // size)
