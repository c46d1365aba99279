"""Weights of both models, and the calibration of one linear layer: rows in blocks, on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qdeploy.calibration.arrays import Floats, Pair, run
from qdeploy.calibration.rounding.linear import Moments, Problem
from qdeploy.calibration.store import CodeStore
from qdeploy.checkpoint.weights import WeightReader

BLOCK_ELEMENTS = 2**21
"""Weights of a block of rows: 8 MiB of float32, of which a thread needs about ten buffers."""
LEAST_BLOCKS = 2
"""So that two threads share the rows of a small layer; not their number, which may change."""

Owed = Callable[[slice], Floats]
"""R of some rows of a weight, [rows, K]: see `Problem.rows`."""


@dataclass
class Weights:
    """The weights of the float model, and those of the quantized one as far as they are known.

    Attributes:
        losses: of each weight of finished steps, relative to the energy of its outputs.
    """

    source: WeightReader
    store: CodeStore
    losses: dict[str, float] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)  # the losses of the step that runs

    def spans(self, weight: str) -> list[slice]:
        """The blocks of rows of a weight: they follow from its shape alone."""
        rows, columns = self.source.shape(weight)
        step = max(1, min(BLOCK_ELEMENTS // columns, -(-rows // LEAST_BLOCKS)))
        return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]

    def exact(self, weight: str, rows: slice) -> Floats:
        """Rows of the float model's weight."""
        return self.source.rows(weight, rows.start, rows.stop)

    def rounded(self, weight: str, rows: slice) -> Floats:
        """Rows of the quantized model's weight, which is calibrated already or never."""
        if weight not in self.store.places:
            return self.exact(weight, rows)
        return self.store.read(weight, rows.start, rows.stop).dequantize()

    def multiply(self, inputs: Pair, weight: str, out: Pair, bias: str | None = None) -> None:
        """Multiply inputs [T, K] of both models by their transposed weight [N, K] into *out*."""
        offset = self.source.rows(bias) if bias else None

        def block(rows: slice) -> None:
            for x, y, read in (
                (inputs.exact, out.exact, self.exact),
                (inputs.rounded, out.rounded, self.rounded),
            ):
                made = x @ read(weight, rows).T
                y[:, rows] = made if offset is None else made + offset[rows]

        run(block, self.spans(weight))

    def calibrate(self, moments: Moments, weights: Sequence[str], owed: Owed | None = None) -> None:
        """Find the codes of weights that have the same inputs; those not planned are left out."""
        planned = {w: self.store.places[w].precision for w in weights if w in self.store.places}
        # one factor for all of equal precision, which in most models is one for all
        different = dict.fromkeys(planned.values())
        for precision in different:
            whole = len(different) == 1  # a problem overwrites what it is given
            cross = moments.cross if whole or moments.cross is None else moments.cross.copy()
            problem = Problem(Moments(moments.second, cross), precision, where=weights[0])
            self._solve(problem, [w for w in planned if planned[w] == precision], owed)

    def pending(self, weights: Sequence[str]) -> list[str]:
        """Those that are planned and not calibrated in this step."""
        return [w for w in weights if w in self.store.places and w not in self._since]

    def finish(self, step: int) -> None:
        """Put the codes of a step on the disk, and record it."""
        self.store.finish(step, self._since)
        self.losses |= self._since
        self._since.clear()

    def _solve(self, problem: Problem, weights: Sequence[str], owed: Owed | None) -> None:
        blocks = list(self._blocks(weights))
        sums: NDArray[np.float64] = np.zeros((len(blocks), 2))

        def block(number: int) -> None:
            weight, rows = blocks[number]
            found = problem.rows(
                self.exact(weight, rows), owed(rows) if owed else None, where=weight
            )
            self.store.write(weight, rows.start, found.quantized)
            sums[number] = found.loss, found.energy

        run(block, range(len(blocks)))
        for weight in weights:
            loss, energy = sums[[name == weight for name, _ in blocks]].sum(axis=0)
            self._since[weight] = float(loss / energy) if energy else 0.0

    def _blocks(self, weights: Sequence[str]) -> Iterator[tuple[str, slice]]:
        return ((weight, rows) for weight in weights for rows in self.spans(weight))
