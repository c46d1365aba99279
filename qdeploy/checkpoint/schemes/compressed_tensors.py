"""compressed-tensors, the format of llm-compressor and vLLM.

Of a linear layer [N, K], by format:

    pack-quantized                   weight_packed [N, K / n] with n codes a word, weight_shape [2]
    int-quantized, naive-quantized   weight int8 [N, K]
    float-quantized, naive-quantized weight E4M3 [N, K]
    nvfp4-, mxfp4-pack-quantized     weight_packed uint8 [N, K / 2]

with `weight_scale`, one for each group of columns, row, block or tensor, and `weight_zero_point`
where asymmetric. Integer codes are stored in offset binary where packed, and signed otherwise.
Codes go with the `input_scale` of inputs that are rounded to int8 by one scale; values do without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from qdeploy.checkpoint.headers import DTYPE_BITS, TensorInfo
from qdeploy.checkpoint.schemes import floats
from qdeploy.checkpoint.schemes.base import (
    STATIC_ACTIVATIONS,
    STATIC_CACHE,
    Parts,
    Scheme,
    contradiction,
)
from qdeploy.checkpoint.schemes.settings import Settings
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.codes import Codes
from qdeploy.checkpoint.sources.fp8 import E4M3
from qdeploy.checkpoint.sources.integers import WORDS, Integers
from qdeploy.checkpoint.sources.scales import Scales

BITS = (4, 8)
"""Other widths are packed differently by different versions of the library."""
PACKED, INT, FLOAT, NAIVE = "pack-quantized", "int-quantized", "float-quantized", "naive-quantized"
FP4 = ("nvfp4-pack-quantized", "mxfp4-pack-quantized")
DENSE, MIXED = "dense", "mixed-precision"
FORMATS = (PACKED, INT, FLOAT, NAIVE, *FP4, DENSE, MIXED)
NAMES = {NAIVE: (INT, FLOAT), MIXED: (PACKED, INT, FLOAT, *FP4)}
"""What a format that the config names may stand for; each other one is itself."""
GROUPED = ("group", "tensor_group")
IN_ORDER = ("weight", "static", None)
"""`actorder`: columns were ordered while calibrating only."""
CLASSES = {"Embedding": "embed_tokens"}
"""Last parts of modules' names that belong to a class of modules; all others are `Linear`."""


STATIC_INPUTS = {
    "num_bits": 8, "type": "int", "symmetric": True, "strategy": "tensor", "dynamic": False,
}  # fmt: skip
"""Settings of inputs that are rounded to int8 by one scale, `input_scale`."""


class Group(NamedTuple):
    """What the config says of some modules.

    Attributes:
        weights: None for modules that no group names.
        static_inputs: whether one scale for their inputs is stored, see `STATIC_INPUTS`.
    """

    format: str
    weights: Settings | None = None
    static_inputs: bool = False


class CompressedTensors(Scheme):
    """compressed-tensors with the settings of one checkpoint."""

    name = "compressed-tensors"
    unread: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("input_scale", "input_zero_point", "input_global_scale", "output_scale"),
            STATIC_ACTIVATIONS,
        ),
        **dict.fromkeys(("k_scale", "v_scale", "q_scale", "output_zero_point"), STATIC_CACHE),
    }

    def __init__(self, settings: Settings) -> None:
        """Check *settings*.

        Raises:
            CheckpointError: a format that cannot be read, or a group that is malformed.
        """
        self._settings = settings
        if settings.table("sparsity_config").get("format", DENSE) != DENSE:
            raise settings.error("the weights are sparse and compressed ('sparsity_config')")
        if settings.table("transform_config").get("config_groups"):
            raise settings.error(
                "the weights go with rotations that are computed as the model runs "
                "('transform_config')"
            )
        groups = [
            settings.within(_table(g, settings)) for g in settings.table("config_groups").values()
        ]
        self._format = settings.text("format", MIXED)
        self._by_target: dict[str, Group] = {}
        for group in groups:
            stored = group.text("format", self._format)
            if stored not in FORMATS:
                raise settings.error(f"weights in the format {stored!r} of compressed-tensors")
            weights = Settings(group.table("weights"), settings.where, settings.fix)
            static = group.table("input_activations").items() >= STATIC_INPUTS.items()
            for target in group.names("targets"):
                self._by_target[target] = Group(stored, weights, static)
        self._patterns = {
            name: _compile(name.removeprefix("re:"), settings)
            for name in (*self._by_target, *settings.names("ignore"))
            if name.startswith("re:")
        }
        if any("input_activations" in group for group in groups):
            self.notes = ("its activations were to be quantized too; they stay float here",)

    def source(self, module: str, parts: Parts) -> Source | None:
        scales = parts.get("weight_scale")
        codes = parts.get("weight_packed") or parts.get("weight")
        if codes is None or scales is None or len(codes.shape) != 2:
            return None
        declared, weights, static_inputs = self._of(module)
        if weights is None:
            problem = "is stored as codes, and config.json names no group for it"
            return contradiction(codes, parts, problem)
        if any(self._matches(module, name) for name in self._settings.names("ignore")):
            return contradiction(codes, parts, "is stored as codes, and config.json ignores it")
        found = _format_of(parts)
        if found not in NAMES.get(declared, (declared,)):
            problem = f"is stored as {found}, and config.json says {declared}"
            return contradiction(codes, parts, problem)
        if found == FLOAT:
            return floats.fp8(codes, scales, _block(weights))
        if found in FP4:
            return floats.fp4(codes, scales, parts.get("weight_global_scale"), divides=True)
        source = self._integers(parts, codes, scales, weights, packed=found == PACKED)
        if static_inputs and isinstance(source, Codes):
            return replace(source, input_scale=parts.get("input_scale"))
        return source

    def _integers(
        self,
        parts: Parts,
        codes: TensorInfo,
        scales: TensorInfo,
        weights: Settings,
        *,
        packed: bool,
    ) -> Source:
        bits = weights.integer("num_bits", 8)
        if bits not in BITS or (bits != 8 and not packed):
            return contradiction(codes, parts, f"has codes of {bits} bits as {codes.dtype}")
        rows, columns = codes.shape
        grouped = weights.text("strategy") in GROUPED or weights.integer("group_size", -1) > 0
        size = weights.integer("group_size", -1) if grouped else -1
        if packed:
            columns = _columns(codes, scales, bits, size)
        size = max(columns, 1) if size <= 0 else size
        groups = -(-columns // size)
        symmetric = weights.flag("symmetric", True)
        points, order = parts.get("weight_zero_point"), parts.get("weight_g_idx")
        problem = None
        if points is None and not symmetric:
            problem = "has no 'weight_zero_point', and config.json says 'symmetric': false"
        return Codes(
            self.name,
            Integers(codes, bits, rows, columns, "columns" if packed else None, signed=not packed),
            Scales(scales, rows, groups),
            group=size,
            symmetric=symmetric,
            zero_points=_zero_points(points, bits, rows, groups) if points else None,
            order=order,
            ordered=order is not None and weights.values.get("actorder") not in IN_ORDER,
            shape_tensor=parts.get("weight_shape"),
            problem=problem,
        )

    def _of(self, module: str) -> Group:
        """The group of a module: by its name, then a pattern, then its class."""
        order = sorted(self._by_target, key=lambda target: (target.startswith("re:"), target))
        for target in order:
            if self._matches(module, target, classes=False):
                return self._by_target[target]
        return next(
            (self._by_target[t] for t in order if self._matches(module, t)), Group(self._format)
        )

    def _matches(self, module: str, target: str, *, classes: bool = True) -> bool:
        """Whether a module is meant, by compressed-tensors' `match_name` and `_match_class`."""
        if target in self._patterns:
            return self._patterns[target].match(module) is not None
        kinds = {end: kind for kind, end in CLASSES.items()}
        kind = kinds.get(module.rpartition(".")[2], "Linear")
        return target == module or (classes and target == kind)


def _format_of(parts: Parts) -> str:
    """The format that tensors are in, whatever the config says."""
    packed = parts.get("weight_packed")
    if packed is None:
        return FLOAT if parts["weight"].dtype == E4M3 else INT
    if packed.dtype != "U8":
        return PACKED
    return FP4[0] if "weight_global_scale" in parts else FP4[1]


def _columns(codes: TensorInfo, scales: TensorInfo, bits: int, size: int) -> int:
    """Columns of packed codes: those of whole groups where that fits, else of whole words."""
    per_word = DTYPE_BITS[codes.dtype] // bits
    most = codes.shape[1] * per_word
    whole = scales.shape[1] * size if size > 0 and len(scales.shape) == 2 else most
    return whole if most - per_word < whole <= most else most


def _zero_points(tensor: TensorInfo, bits: int, rows: int, groups: int) -> Integers:
    """Zero points, which are packed along N where codes are packed, and bytes otherwise."""
    if tensor.dtype in WORDS and DTYPE_BITS[tensor.dtype] > 8:
        return Integers(tensor, bits, rows, groups, packed="rows")
    return Integers(tensor, bits, rows, groups, signed=True)


def _block(weights: Settings) -> tuple[int, int] | None:
    """The block of the settings: two numbers, or both in a word, as in "128x128"."""
    given = weights.values.get("block_structure")
    if isinstance(given, str) and re.fullmatch(r"\d+x\d+", given):
        given = [int(side) for side in given.split("x")]
    return floats.block_of(given)


def _table(value: Any, settings: Settings) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise settings.error(f"a group of 'config_groups' is {value!r}, not an object")
    return {"format": None, **value}


def _compile(pattern: str, settings: Settings) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error:
        raise settings.error(f"{pattern!r} is no pattern of modules") from None
