"""The weights of a model whose channels are scaled by powers of two; see the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from qdeploy.calibration.smoothing.sites import Site
from qdeploy.checkpoint.weights import WeightReader, WrappedReader

Floats = NDArray[np.float32]
Exponents = NDArray[np.int8]
"""Of the factors of a site, one for each row of its makers, [R]."""
Lookup = Callable[[Site], "Exponents | None"]
"""The exponents of a site; None as long as they are not chosen."""


def factors(exponents: Exponents) -> Floats:
    """2 ** exponents, exact."""
    return np.ldexp(np.float32(1), exponents.astype(np.int32))


class SmoothedReader(WrappedReader):
    """The float weights of another reader, scaled."""

    def __init__(self, source: WeightReader, sites: Iterable[Site], exponents: Lookup) -> None:
        super().__init__(source)
        self._exponents = exponents
        self._read: dict[str, Site] = {}
        self._made: dict[str, Site] = {}
        for site in sites:
            readers = (*site.readers, *([site.router] if site.router else []))
            self._read |= dict.fromkeys(readers, site)
            self._made |= dict.fromkeys(site.makers, site)

    def rows(
        self, name: str, start: int = 0, stop: int | None = None, *, out: Floats | None = None
    ) -> Floats:
        """Rows of a weight, or elements of a vector, as a smoothed model has them."""
        values = super().rows(name, start, stop, out=out)
        read, made = (found.get(name) for found in (self._read, self._made))
        if read and (chosen := self._exponents(read)) is not None:
            values *= factors(read.to_channels(chosen))
        if made and (chosen := self._exponents(made)) is not None:
            own = factors(-chosen[start:stop])
            values *= own if values.ndim == 1 else own[:, None]
        return values
