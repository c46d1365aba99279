"""A loaded graph with its cache, as qdeploy's own loop drives it."""

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
    """One sequence at a time: `begin`, then `feed` its tokens in any number of passes."""

    @abstractmethod
    def begin(self, capacity: int) -> None:
        """Forget everything; the sequence to come has at most *capacity* tokens."""

    @abstractmethod
    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Go on with *ids*, one or more; gives the logits [V] that follow the last."""

    @abstractmethod
    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits [T, V] that follow each of *ids*, from the beginning. Ends what was fed."""

    @abstractmethod
    def sessions(self) -> list[Any]:
        """The InferenceSessions that make tokens, for the proof of placement."""


def caches(session: Any) -> list[Any]:
    """The inputs of a graph that are keys and values of earlier tokens."""
    return [i for i in session.get_inputs() if i.name.startswith(PAST)]


def present(name: str) -> str:
    """The output that an input of the cache becomes."""
    return name.replace(PAST, PRESENT, 1)


def empty(ort: Any, shape: Sequence[int], kind: str, memory: Memory, number: int = 0) -> Any:
    """An OrtValue of zeros, of a type by ONNX Runtime's name, in the memory of device *number*.

    Zeros, since what is masked is still multiplied, and not-a-number times zero is not zero.
    """
    import numpy as np

    zeros = np.zeros(shape, DTYPES[kind])
    if memory.kind == "cpu":
        return ort.OrtValue.ortvalue_from_numpy(zeros)
    return ort.OrtValue.ortvalue_from_numpy(zeros, memory.kind, number, memory.vendor)
