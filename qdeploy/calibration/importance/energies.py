"""The pass through all layers and back that `importance` is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedRandom

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.graph import GraphConfig
from qdeploy.calibration.importance.gradient import total
from qdeploy.calibration.importance.labels import label_gradient
from qdeploy.calibration.importance.operations import Note
from qdeploy.calibration.importance.reverse import Segment
from qdeploy.calibration.importance.segments import Described
from qdeploy.checkpoint.weights import WeightReader

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of steps that are done, and of all."""

GROUP_BYTES = 256 * 2**20
"""Size of the arrays of one layer for the tokens that go through it together.

Each group reads the layer's weights again, which takes a tenth of the time that hundreds of tokens
take to be multiplied by them.
"""


@dataclass(frozen=True)
class Group:
    """Sequences that go through a layer together; their tokens are rows *start* to *stop* of T."""

    sequences: Sequence[Sequence[int]]
    start: int
    stop: int


def groups(sequences: Sequence[Sequence[int]], tokens: int) -> list[Group]:
    """Group sequences, in order: one, or as many as have at most *tokens* together."""
    found: list[Group] = []
    for k, ids in enumerate(sequences):
        last = found[-1] if found else Group((), 0, 0)
        if found and last.stop - last.start + len(ids) <= tokens:
            first = k - len(last.sequences)
            found[-1] = Group(sequences[first : k + 1], last.start, last.stop + len(ids))
        else:
            found.append(Group(sequences[k : k + 1], last.stop, last.stop + len(ids)))
    return found


def group_tokens(config: GraphConfig) -> int:
    """Tokens whose arrays fill `GROUP_BYTES` in the reverse of a layer.

    They are gate, up and their gradients; queries, keys and values, before and after their norms,
    and their gradients; the residual stream, what its norms give, and gradients of these.
    """
    dense = len(config.sparse_layers) < config.layers
    inner = max(config.intermediate if dense else 0, config.moe_intermediate)
    heads = (config.heads + 2 * config.kv_heads) * config.head_dim
    return GROUP_BYTES // (4 * (4 * inner + 3 * heads + 10 * config.hidden))


class States:
    """Arrays of all tokens, float32 [T, H], in a file: one after each segment.

    It is read and written, not mapped: mapped pages would count as memory of this process.
    """

    def __init__(self, file: BufferedRandom, tokens: int, width: int) -> None:
        self._file, self._tokens, self._width = file, tokens, width

    def read(self, number: int, group: Group) -> Floats:
        """Rows of *group* of the array *number*, as they were written."""
        x = np.empty((group.stop - group.start, self._width), np.float32)
        self._seek(number, group)
        self._file.readinto(x.data)
        return x

    def write(self, number: int, group: Group, x: Floats) -> None:
        """Write these rows."""
        self._seek(number, group)
        self._file.write(np.ascontiguousarray(x).data)

    def _seek(self, number: int, group: Group) -> None:
        self._file.seek(4 * self._width * (number * self._tokens + group.start))


class Energies:
    """Energies of the gradient at the outputs of linear layers, float32 [T], by key.

    Attributes:
        sums: of each layer's own energies over the tokens, by the name of its weight.
    """

    def __init__(
        self,
        source: WeightReader,
        model: Described,
        config: GraphConfig,
        sequences: Sequence[Sequence[int]],
        states: States,
        progress: Progress,
    ) -> None:
        self._source, self._model, self._states, self._progress = source, model, states, progress
        starts = [0, *(end + 1 for end in model.ends[:-1])]
        self._embedding, *self._layers, self._last = (
            Segment(model.operations, start, end, source, config)
            for start, end in zip(starts, model.ends, strict=True)
        )
        self._groups = groups(sequences, group_tokens(config))
        tokens = self._groups[-1].stop
        self._found = {key: np.zeros(tokens, np.float32) for key in model.shares.values()}
        self.sums: defaultdict[str, float] = defaultdict(float)
        self._done, self._total = 0, len(self._groups) * (2 * len(self._layers) + 1)

    def of_labels(self, drawn: NDArray[np.float64]) -> dict[str, Floats]:
        """The energies for labels that are drawn with `uniforms`, [T].

        Each layer reads what the one before it left in the file. In reverse, the gradient takes the
        place of the residual stream, which is not needed again.
        """
        self._progress(0, self._total)
        self._up()
        self._head(drawn)
        for number, layer in reversed(list(enumerate(self._layers))):
            for group in self._groups:
                x, gradient = (self._states.read(k, group) for k in (number, number + 1))
                pulled = layer.reverse(group.sequences, x, gradient, self._noted(group))
                self._states.write(number, group, pulled)
                self._step()
        return self._found

    def _up(self) -> None:
        for group in self._groups:
            nothing = np.empty((0, 0), np.float32)
            self._states.write(0, group, self._embedding.forward(group.sequences, nothing))
        for number, layer in enumerate(self._layers):
            for group in self._groups:
                x = layer.forward(group.sequences, self._states.read(number, group))
                self._states.write(number + 1, group, x)
                self._step()

    def _head(self, drawn: NDArray[np.float64]) -> None:
        number, head = len(self._layers), self._model.head
        for group in self._groups:
            x = self._states.read(number, group)
            hidden = self._last.forward(group.sequences, x)
            own = drawn[group.start : group.stop]
            gradient, energies = label_gradient(self._source, head, hidden, own)
            note = self._noted(group)
            note(head, energies, {head: total(energies)})
            self._states.write(
                number, group, self._last.reverse(group.sequences, x, gradient, note)
            )
            self._step()

    def _noted(self, group: Group) -> Note:
        def note(key: str, energies: Floats, sums: Mapping[str, float]) -> None:
            self._found[key][group.start : group.stop] += energies
            for weight, own in sums.items():
                self.sums[weight] += own

        return note

    def _step(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)
