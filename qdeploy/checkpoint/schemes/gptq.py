"""GPTQ, as AutoGPTQ, GPTQModel and AutoRound store it.

Of a linear layer with N outputs and K inputs: `qweight` [K / n, N] with n codes a word along K,
`qzeros` [G, N / n] along N, `scales` [G, N], and `g_idx` [K], the group of each column. In the
format `gptq` a zero point is stored less one; `gptq_v2` stores it as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qdeploy.checkpoint.headers import DTYPE_BITS, TensorInfo
from qdeploy.checkpoint.schemes.base import Parts, Scheme
from qdeploy.checkpoint.schemes.settings import Settings
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.codes import Codes
from qdeploy.checkpoint.sources.integers import WORDS, Integers
from qdeploy.checkpoint.sources.scales import Scales

READABLE_BITS = (4, 8)
FORMATS = ("gptq", "gptq_v2")
PARTS = ("qweight", "qzeros", "scales")


class GPTQ(Scheme):
    """GPTQ with the settings of one checkpoint."""

    name = "gptq"

    def __init__(self, settings: Settings) -> None:
        """Check *settings*, those of single modules included.

        Raises:
            CheckpointError: a format or a number of bits that cannot be read.
        """
        self._settings = settings
        layout = settings.text("checkpoint_format") or settings.text("format") or FORMATS[0]
        layout = "marlin" if settings.flag("is_marlin_format", False) else layout
        if layout not in FORMATS:
            raise settings.error(
                f"GPTQ weights packed for the kernels of {layout!r}; those of the formats "
                f"{' and '.join(FORMATS)} can be read"
            )
        self._less_one = layout == FORMATS[0]
        settings.bits(READABLE_BITS)
        settings.group_size()
        self._overrides = _overrides(settings)

    def source(self, module: str, parts: Parts) -> Source | None:
        codes, points, scales = (parts.get(name) for name in PARTS)
        if codes is None or scales is None or codes.dtype not in WORDS or len(codes.shape) != 2:
            return None
        settings, excluded = self._of(module)
        bits, size = settings.bits(READABLE_BITS), settings.group_size()
        order = parts.get("g_idx")
        per_word = DTYPE_BITS[codes.dtype] // bits
        rows, columns = codes.shape[1], codes.shape[0] * per_word
        if order and order.shape:
            columns = order.shape[0]
        size = max(columns, 1) if size == -1 else size
        groups = -(-columns // size)
        symmetric = settings.flag("sym", True)
        problem = None
        if excluded:
            problem = "is stored as GPTQ codes, and 'dynamic' in config.json excludes it"
        elif points is None and not symmetric:
            problem = "has no 'qzeros', and config.json says 'sym': false"
        return Codes(
            self.name,
            Integers(codes, bits, rows, columns, packed="columns", transposed=True),
            Scales(scales, rows, groups, transposed=True),
            group=size,
            symmetric=symmetric,
            zero_points=self._zero_points(points, bits, rows, groups),
            order=order,
            # with groups that were set before ordering, each column is in the usual one
            ordered=settings.flag("desc_act", False) and not settings.flag("static_groups", False),
            problem=problem,
        )

    def _zero_points(
        self, tensor: TensorInfo | None, bits: int, rows: int, groups: int
    ) -> Integers | None:
        if tensor is None:
            return None
        ones = sum(1 << place for place in range(0, DTYPE_BITS[tensor.dtype], bits))
        # on whole words, as GPTQModel's `convert_gptq_v1_to_v2_format` adds it
        added = ones if self._less_one else 0
        return Integers(tensor, bits, rows, groups, packed="rows", transposed=True, added=added)

    def _of(self, module: str) -> tuple[Settings, bool]:
        """The settings of a module, and whether it is not quantized: the first pattern counts."""
        for pattern, excludes, values in self._overrides:
            if pattern.match(module):
                return self._settings.within(values), excludes
        return self._settings, False


Override = tuple[re.Pattern[str], bool, Mapping[str, Any]]


def _overrides(settings: Settings) -> list[Override]:
    """GPTQModel's `dynamic`: settings by a pattern of module names; `-:` before it excludes them.

    Raises:
        CheckpointError: one cannot be read.
    """
    found: list[Override] = []
    for key, values in settings.table("dynamic").items():
        pattern = key.removeprefix("+:").removeprefix("-:")
        try:
            compiled = re.compile(pattern)
        except re.error:
            raise settings.error(f"'dynamic' has {key!r}, which is no pattern") from None
        values = values or {}
        if not isinstance(values, dict):
            raise settings.error(f"'dynamic' has {values!r} for {key!r}, not an object")
        excludes = key.startswith("-:")
        if not excludes:
            settings.within(values).bits(READABLE_BITS)
        found.append((compiled, excludes, values))
    return found
