"""`Scheme`: how one quantization method stored the weights of one checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.unreadable import Unreadable

Parts = Mapping[str, TensorInfo]
"""The stored tensors of one module by the last part of their names: `weight`, `qweight`, `bias`."""

STATIC_ACTIVATIONS = "a scale for quantized activations, which stay float here"
STATIC_CACHE = "a scale for a quantized key-value cache; the profile chooses the cache's type"


class Scheme(ABC):
    """One quantization method with the settings of one checkpoint.

    Attributes:
        name: the method's, as plans show it.
        unread: why a part that no weight is read from is dropped, by its name.
        notes: what a user must know of how these weights are read.
    """

    name: ClassVar[str]
    unread: ClassVar[Mapping[str, str]] = {}
    notes: tuple[str, ...] = ()

    @abstractmethod
    def source(self, module: str, parts: Parts) -> Source | None:
        """The source of the module's `weight`; None where it is not quantized.

        Parts that the source does not read, and that `unread` does not name, are taken as tensors
        of their own.
        """


def contradiction(weight: TensorInfo, parts: Parts, problem: str) -> Source:
    """The source of a weight whose tensors contradict the settings, as *problem* says."""
    others = (tensor for name, tensor in parts.items() if name != "bias" and tensor != weight)
    return Unreadable((weight, *others), problem)
