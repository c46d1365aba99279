"""AWQ in the layout of AutoAWQ's GEMM kernels.

Of a linear layer with N outputs and K inputs: `qweight` [K, N / 8] and `qzeros` [G, N / 8], eight
codes a word along N in the order 0, 2, 4, 6, 1, 3, 5, 7, and `scales` [G, N].
"""

from __future__ import annotations

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.schemes.base import Parts, Scheme
from qdeploy.checkpoint.schemes.settings import Settings
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.codes import Codes
from qdeploy.checkpoint.sources.integers import Integers
from qdeploy.checkpoint.sources.scales import Scales

BITS, PER_WORD = 4, 8
PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""The place in a word of each of its codes: the inverse of 0, 2, 4, 6, 1, 3, 5, 7."""
LAYOUTS = ("gemm", "exllama", "ipex")
"""`version` in the config. The last two are kernels that take GEMM's layout."""
LLM_AWQ = "llm-awq"
"""A `backend` with a layout of its own."""
WORD = "I32"


class AWQ(Scheme):
    """AWQ with the settings of one checkpoint."""

    name = "awq"

    def __init__(self, settings: Settings) -> None:
        """Check *settings*.

        Raises:
            CheckpointError: a layout or a number of bits that cannot be read.
        """
        layout = settings.text("version") or settings.text("format") or LAYOUTS[0]
        layout = LLM_AWQ if settings.text("backend") == LLM_AWQ else layout
        if layout not in LAYOUTS:
            raise settings.error(f"AWQ weights in the layout {layout!r}; 'gemm' can be read")
        settings.bits((BITS,))
        self._size = settings.group_size()
        self._symmetric = not settings.flag("zero_point", True)

    def source(self, module: str, parts: Parts) -> Source | None:
        codes, points, scales = (parts.get(name) for name in ("qweight", "qzeros", "scales"))
        if codes is None or scales is None or codes.dtype != WORD or len(codes.shape) != 2:
            return None
        columns, rows = codes.shape[0], codes.shape[1] * PER_WORD
        size = max(columns, 1) if self._size == -1 else self._size
        groups = -(-columns // size)
        problem = None
        if points is None and not self._symmetric:
            problem = "has no 'qzeros', and config.json says 'zero_point': true"
        return Codes(
            self.name,
            _words(codes, rows, columns),
            Scales(scales, rows, groups, transposed=True),
            group=size,
            symmetric=self._symmetric,
            zero_points=_words(points, rows, groups) if points else None,
            problem=problem,
        )


def _words(tensor: TensorInfo, rows: int, columns: int) -> Integers:
    return Integers(tensor, BITS, rows, columns, packed="rows", transposed=True, order=PLACES)
