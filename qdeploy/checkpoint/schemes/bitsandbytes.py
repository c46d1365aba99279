"""bitsandbytes: four bits with a table of values, and eight bits with a scale a row.

Beside a four-bit `weight` are `weight.absmax`, `weight.quant_map`, `weight.nested_absmax`,
`weight.nested_quant_map`, and the rest as JSON in `weight.quant_state.bitsandbytes__nf4`; beside an
eight-bit one is `SCB`, the largest magnitude of each row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.schemes.base import Parts, Scheme, contradiction
from qdeploy.checkpoint.schemes.peek import Peek
from qdeploy.checkpoint.schemes.settings import Settings
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.bitsandbytes import BlockTable, Nested
from qdeploy.checkpoint.sources.codes import Codes
from qdeploy.checkpoint.sources.integers import Integers
from qdeploy.checkpoint.sources.scales import Scales

STATE = "weight.quant_state.bitsandbytes__"
HIGHEST = 127
"""The code of a row's largest magnitude in eight bits."""


class BitsAndBytes(Scheme):
    """bitsandbytes; tensors say whether in four or in eight bits."""

    name = "bitsandbytes"
    unread: ClassVar[Mapping[str, str]] = {
        "weight_format": "the layout of eight-bit codes, which is by rows in every file",
        **{f"{STATE}{kind}": "shape and blocks of the weight" for kind in ("nf4", "fp4")},
    }

    def __init__(self, settings: Settings, peek: Peek) -> None:
        """*peek* reads the shapes, which are stored as data."""
        self._peek = peek

    def source(self, module: str, parts: Parts) -> Source | None:
        weight, magnitudes = parts.get("weight"), parts.get("SCB")
        if weight is None:
            return None
        if magnitudes and weight.dtype == "I8" and len(weight.shape) == 2:
            rows, columns = weight.shape
            return Codes(
                self.name,
                Integers(weight, 8, rows, columns, signed=True),
                Scales(magnitudes, rows, 1, divisor=HIGHEST),
                group=columns,
                symmetric=True,
            )
        state = next((parts[name] for name in parts if name.startswith(STATE)), None)
        if state is None:
            return None
        try:
            return self._four_bits(weight, parts, self._state(state))
        except (KeyError, ValueError, TypeError) as error:
            return contradiction(weight, parts, f"has {state.name} that cannot be read ({error})")

    def _state(self, tensor: TensorInfo) -> Mapping[str, Any]:
        found = json.loads(self._peek.bytes_of(tensor))
        if not isinstance(found, dict):
            raise TypeError("not an object")
        return found

    def _four_bits(self, weight: TensorInfo, parts: Parts, state: Mapping[str, Any]) -> Source:
        """The source of a matrix whose *state* is its quantization state.

        Raises:
            KeyError, ValueError, TypeError: an entry or a tensor is missing or of another kind.
        """
        rows, columns = map(_count, state["shape"])
        nested = None
        if "weight.nested_absmax" in parts:
            nested = Nested(
                parts["weight.nested_quant_map"],
                parts["weight.nested_absmax"],
                _count(state["nested_blocksize"]),
                float(state["nested_offset"]),
            )
        table, magnitudes = parts["weight.quant_map"], parts["weight.absmax"]
        block = _count(state["blocksize"])
        return BlockTable(weight, (rows, columns), table, magnitudes, block, nested)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no count")
    return value
