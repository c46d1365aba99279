"""Find the scheme of a checkpoint: from `quantization_config`, or the methods' own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qdeploy.checkpoint.schemes import floats
from qdeploy.checkpoint.schemes.awq import AWQ
from qdeploy.checkpoint.schemes.base import Scheme
from qdeploy.checkpoint.schemes.bitsandbytes import BitsAndBytes
from qdeploy.checkpoint.schemes.compressed_tensors import CompressedTensors
from qdeploy.checkpoint.schemes.gptq import GPTQ
from qdeploy.checkpoint.schemes.peek import Peek
from qdeploy.checkpoint.schemes.refused import REASONS, UNKNOWN, Refused
from qdeploy.checkpoint.schemes.settings import Settings, original
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json

CONFIG = "config.json"
FILES = {
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
    "hf_quant_config.json": "modelopt",
}
"""Where methods keep settings beside config.json, with the method that each is of."""
SPELLINGS = {"w_bit": "bits", "q_group_size": "group_size", "format": "checkpoint_format"}
"""Keys of those files by which config.json has other names."""
COMPARED = ("bits", "group_size", "sym", "desc_act", "zero_point", "version", "checkpoint_format")
"""Settings that decide values, and stand in both."""

Make = Callable[[Settings, Path], Scheme]
METHODS: dict[str, Make] = {
    "awq": lambda settings, _: AWQ(settings),
    "gptq": lambda settings, _: GPTQ(settings),
    "compressed-tensors": lambda settings, _: CompressedTensors(settings),
    "bitsandbytes": lambda settings, folder: BitsAndBytes(settings, Peek(folder)),
    "fp8": lambda settings, _: floats.FP8(settings),
    "fbgemm_fp8": lambda settings, _: floats.FbgemmFP8(settings),
    **dict.fromkeys(("modelopt", "modelopt_fp4"), lambda settings, _: floats.ModelOpt(settings)),
    "quark": lambda settings, _: floats.Quark(settings),
}
"""By `quant_method`."""
V1, V2 = {"checkpoint_format": "gptq"}, {"checkpoint_format": "gptq_v2"}
PACKING: dict[str, tuple[str, Mapping[str, Any]]] = {
    "auto_round": ("gptq", V2),
    "auto_round:gptqmodel": ("gptq", V2),
    "auto_round:auto_gptq": ("gptq", V1),
    "auto_round:gptq": ("gptq", V1),
    "auto_round:auto_awq": ("awq", {"version": "gemm"}),
    "auto_round:awq": ("awq", {"version": "gemm"}),
}
"""AutoRound's `packing_format`, and the method whose layout it is with that method's settings.
As in `inference/backend.py` of auto-round: all but `auto_gptq` store zero points as they are."""
MLX_HAS, MLX_MAY_HAVE = {"bits", "group_size"}, {"mode"}
"""Keys of MLX's settings, which name no method."""
VENDOR = "intel/"
"""Stands before AutoRound's name in its older checkpoints."""


def find_scheme(settings: Mapping[str, Any] | None, folder: Path) -> Scheme | None:
    """The scheme of the checkpoint in *folder*; None for plain floats.

    *settings* is `quantization_config` of its config.json. As in transformers, a file of the
    method's own counts only where that is missing; a difference is a note. A setting that cannot
    be read is refused with the first weight that needs it.

    Raises:
        CheckpointError: a file of the method's own is no JSON object.
    """
    fix = original(folder)
    beside = _beside(folder)
    if not settings:
        if not beside:
            return None
        file, found = beside
        method = str(found.get("quant_method") or FILES[file.name])
        return _make(Settings({**found, "quant_method": method}, file, fix), folder)
    scheme = _make(Settings(settings, folder / CONFIG, fix), folder)
    if beside:
        scheme.notes = (*scheme.notes, *_differences(settings, *beside))
    return scheme


def _make(settings: Settings, folder: Path) -> Scheme:
    method = settings.text("quant_method").removeprefix(VENDOR) or _unnamed(settings)
    try:
        if method == "auto-round":
            method, settings = _of_auto_round(settings)
        return METHODS[method](settings, folder)
    except KeyError:
        reason = REASONS.get(method, UNKNOWN)
        return Refused(settings.error(f"quantized already, by {method!r}: {reason}"))
    except CheckpointError as error:
        return Refused(error)


def _unnamed(settings: Settings) -> str:
    """The method of settings that do not name it: as transformers decides, or MLX."""
    flags = ("load_in_4bit", "load_in_8bit")
    if any(settings.values.get(flag) is True for flag in flags):
        return "bitsandbytes"
    return "mlx" if settings.values.keys() - MLX_MAY_HAVE == MLX_HAS else "unnamed"


def _of_auto_round(settings: Settings) -> tuple[str, Settings]:
    """The method that AutoRound packed for, and its settings in the words of that method.

    Its `extra_config` has settings by the name of a module; 16 bits are floats.

    Raises:
        CheckpointError: it is packed in another way.
    """
    packing = settings.text("packing_format", "auto_round:gptq")
    if packing not in PACKING:
        raise settings.error(f"AutoRound's weights packed as {packing!r}")
    method, layout = PACKING[packing]
    dynamic: dict[str, Any] = {}
    for name, values in settings.table("extra_config").items():
        if isinstance(values, dict) and values.get("bits") != 16:
            dynamic[name.replace(".", r"\.") + "$"] = values
    own = {key: settings.values[key] for key in layout if key in settings}
    usual = {"zero_point": not settings.flag("sym", True), "dynamic": dynamic, "format": None}
    return method, settings.within({**usual, "version": None, **layout, **own})


def _beside(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The first of the methods' own files, with its settings in the words of config.json."""
    for name in FILES:
        if (folder / name).is_file():
            found = read_json(folder / name)
            return folder / name, {SPELLINGS.get(k, k): v for k, v in found.items()}
    return None


def _differences(
    settings: Mapping[str, Any], file: Path, beside: Mapping[str, Any]
) -> tuple[str, ...]:
    def word(value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    found = []
    for key in COMPARED:
        ours, theirs = settings.get(key), beside.get(key)
        if ours is not None and theirs is not None and word(ours) != word(theirs):
            found.append(
                f"config.json says {key} = {ours!r} and {file.name} says {theirs!r}; config.json "
                "counts, as in transformers"
            )
    return tuple(found)
