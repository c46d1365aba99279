"""Names and dtypes of what a checkpoint stores, read with the safetensors library alone.

transformers draws weights at random where a trainer's wrapper has put something into their names,
and it wants a quantization library where settings of one are left over. It is told of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from qdeploy.errors import CheckpointError

FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
TRAINERS = {
    "DistributedDataParallel": r"(?:^|(?<=\.))module\.",
    "torch.compile": r"_orig_mod\.",
    "FSDP": r"_fsdp_wrapped_module\.",
    "activation checkpointing": r"_checkpoint_wrapped_module\.",
}
"""What the wrappers of training libraries add to the names of the modules in them."""
WRAPPERS = TRAINERS | {
    "PEFT": r"^base_model\.model\.(?=lm_head|model\.|embed_tokens|layers)",
    "PEFT's layers": r"base_layer\.",
    "TRL": r"^pretrained_model\.",
}
"""The same for whole models, with those that save a model together with something else."""


@dataclass(frozen=True)
class Stored:
    """What the weight files of a folder hold.

    Attributes:
        dtypes: safetensors' name of the dtype of each tensor.
        shapes: shape of each tensor.
    """

    dtypes: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return FLOATS.issuperset(self.dtypes.values())

    @property
    def renaming(self) -> dict[str, str]:
        """The patterns to remove from names, for transformers' `key_mapping`."""
        return {p: "" for p in WRAPPERS.values() if _matches(p, self.dtypes)}

    def rows(self, pattern: str) -> int | None:
        """Rows of the first tensor whose name matches; None where there is none."""
        found = (shape[0] for name, shape in self.shapes.items() if re.search(pattern, name))
        return next(found, None)


def read_stored(folder: Path) -> Stored:
    """Read the headers of all weight files in *folder*.

    Raises:
        CheckpointError: a file is not a safetensors file.
    """
    dtypes: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "numpy") as file:
                names = file.keys()
                parts = {name: file.get_slice(name) for name in names}
                dtypes |= {name: str(part.get_dtype()) for name, part in parts.items()}
                shapes |= {name: tuple(part.get_shape()) for name, part in parts.items()}
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"not a safetensors file ({error})", where=path) from None
    return Stored(dtypes, shapes)


def _matches(pattern: str, names: Iterable[str]) -> bool:
    return any(re.search(pattern, name) for name in names)
