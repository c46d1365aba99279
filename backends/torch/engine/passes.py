"""A pass: the tokens that go through the model together, and where they stand in the sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Tensor = Any


@dataclass(frozen=True)
class Local:
    """What a pass needs on one device.

    Attributes:
        cos, sin: rotation of each of its positions, [L, 1, D].
        mask: true where a token attends, [L, S]; None where it attends to all of S, or `causal`.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Pass:
    """L tokens from position *start* on.

    Attributes:
        ids: int64 [L], on the device of the embedding.
        on: by device, as torch writes it.
        causal: token i attends to the first i + 1 of S = L.
    """

    ids: Tensor
    start: int
    length: int
    causal: bool = False
    on: Mapping[str, Local] = field(default_factory=dict)
