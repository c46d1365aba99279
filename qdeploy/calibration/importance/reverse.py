"""One segment of a model for some sequences: computed forward, and then in reverse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.graph import GraphConfig
from qdeploy.calibration.importance.operations import At, Attention, Note, Operation, SwiGlu
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.forward.forward import NumpyBuilder, Value

Floats = NDArray[np.float32]


class Segment:
    """The operations *first* to *last*, which take the result of *first* - 1 and no earlier one."""

    def __init__(
        self,
        operations: Sequence[Operation],
        first: int,
        last: int,
        source: WeightReader,
        config: GraphConfig,
    ) -> None:
        self._operations, self._first, self._last = operations, first, last
        self._source, self._config = source, config

    def forward(self, sequences: Sequence[Sequence[int]], start: Floats) -> Floats:
        """Compute the result, float32 [tokens, H], of the one before, for all tokens as rows.

        The first segment takes the token ids alone, and ignores *start*.
        """
        build = self._builder(sequences)
        values: dict[int, Value] = {self._first - 1: start}
        for number in range(self._first, self._last + 1):
            operation = self._operations[number]
            values[number] = operation.forward(build, *(values[i] for i in operation.inputs))
        return build.value(values[self._last])

    def reverse(
        self,
        sequences: Sequence[Sequence[int]],
        start: Floats,
        gradient: Floats,
        note: Note,
    ) -> Floats:
        """Gradient with respect to *start*, float32 [tokens, H].

        Args:
            sequences: token ids, for their lengths.
            start: the result of the segment before, float32 [tokens, H].
            gradient: with respect to this segment's result, float32 [tokens, H].
            note: see `Note`.
        """
        values = _Values(self._operations, self._builder(sequences), self._first - 1, start)
        lengths = [len(ids) for ids in sequences]
        at = At(self._source, self._config, lengths, values.of, note)
        gradients = {self._last: gradient}
        for number in range(self._last, self._first - 1, -1):
            values.forget(number)  # only later operations take it
            if number not in gradients:
                continue
            operation = self._operations[number]
            parts = operation.reverse(at, gradients.pop(number))
            for used, part in zip(operation.inputs, parts, strict=True):
                # a sum is a new array: the parts of an `Add` are one
                gradients[used] = gradients[used] + part if used in gradients else part
        return gradients[self._first - 1]

    def _builder(self, sequences: Sequence[Sequence[int]]) -> NumpyBuilder:
        return NumpyBuilder(self._source, self._config, sequences, lambda *_: None)


class _Values:
    """Results of operations, each computed when it is asked for and kept until it is forgotten."""

    def __init__(
        self, operations: Sequence[Operation], build: NumpyBuilder, before: int, start: Floats
    ) -> None:
        self._operations, self._build = operations, build
        self._found = {before: start}

    def of(self, number: int) -> Floats:
        if number not in self._found:
            operation = self._operations[number]
            inputs = [self.of(i) for i in operation.inputs]
            if isinstance(operation, Attention | SwiGlu):  # computed in place of their inputs
                inputs = [x.copy() for x in inputs]
            self._found[number] = self._build.value(operation.forward(self._build, *inputs))
        return self._found[number]

    def forget(self, number: int) -> None:
        self._found.pop(number, None)
