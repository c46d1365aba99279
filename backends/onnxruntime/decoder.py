"""A loaded graph and its key-value cache, for qdeploy's own generation loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.backends.onnxruntime.providers import Memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAST, PRESENT = "past_key_values", "present"
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


class Model(ABC):
    """Decodes one sequence at a time: `begin`, then `feed` its tokens in any number of passes."""

    @abstractmethod
    def begin(self, capacity: int) -> None:
        """Start a new sequence of at most *capacity* tokens."""

    @abstractmethod
    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Append one or more *ids* and return the logits [V] after the last of them."""

    @abstractmethod
    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits [T, V] after each of *ids*, as a sequence of its own."""

    @abstractmethod
    def sessions(self) -> list[Any]:
        """Return the InferenceSessions that generate, for the proof of placement."""


def caches(session: Any) -> list[Any]:
    """Return the graph inputs that are keys and values of earlier tokens."""
    return [i for i in session.get_inputs() if i.name.startswith(PAST)]


def present(name: str) -> str:
    """Return the output that belongs to an input of the cache."""
    return name.replace(PAST, PRESENT, 1)


def empty(ort: Any, shape: Sequence[int], kind: str, memory: Memory, number: int = 0) -> Any:
    """Return an OrtValue of zeros, of a type by ONNX Runtime's name, in device *number*'s memory.

    The buffer is zeroed because masked values are still multiplied by zero, and NaN times zero is
    NaN.
    """
    import numpy as np

    zeros = np.zeros(shape, DTYPES[kind])
    if memory.kind == "cpu":
        return ort.OrtValue.ortvalue_from_numpy(zeros)
    return ort.OrtValue.ortvalue_from_numpy(zeros, memory.kind, number, memory.vendor)
