"""The residual streams of both models on the disk, after each finished step."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qdeploy.calibration.arrays import Arrays, Floats, Pair, run, spans

NAMES = ("exact", "rounded")


@dataclass(frozen=True)
class Streams:
    """Files `STEP-exact.f32` and `STEP-rounded.f32` in a folder: float32 [T, H], plain.

    Attributes:
        tokens: T.
        width: H.
    """

    folder: Path
    tokens: int
    width: int
    arrays: Arrays

    def write(self, step: int, streams: Pair) -> None:
        """Write the streams after *step*, to the disk."""
        for name, values in zip(NAMES, streams.both, strict=True):
            with self._file(step, name).open("wb") as file:
                for part in spans(*values.shape):
                    file.write(np.ascontiguousarray(values[part]).data)
                file.flush()
                os.fsync(file.fileno())

    def read(self, step: int) -> Pair:
        """The streams after *step*."""
        exact, rounded = (self._read(step, name) for name in NAMES)
        return Pair(exact, rounded)

    def forget(self, step: int) -> None:
        """Delete the streams after *step*, and of earlier steps."""
        for number in range(step, -1, -1):
            files = [self._file(number, name) for name in NAMES]
            if not any(file.exists() for file in files):
                return
            for file in files:
                file.unlink(missing_ok=True)

    def _read(self, step: int, name: str) -> Floats:
        shape = (self.tokens, self.width)
        stored = np.memmap(self._file(step, name), np.float32, "r", shape=shape)
        values = self.arrays.empty(*shape)

        def part(tokens: slice) -> None:
            values[tokens] = stored[tokens]

        run(part, spans(*shape))
        return values

    def _file(self, step: int, name: str) -> Path:
        return self.folder / f"{step}-{name}.f32"
