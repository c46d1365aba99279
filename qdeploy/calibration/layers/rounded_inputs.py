"""Smooths and rounds the inputs of the quantized model, as its kernels will round them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from qdeploy.calibration.arrays import Floats, Pair, run, spans
from qdeploy.calibration.layers.weights import Weights
from qdeploy.calibration.smoothing.factors import Exponents, factors
from qdeploy.calibration.smoothing.search import Choice, choose, exponent_limits
from qdeploy.calibration.smoothing.sites import Site
from qdeploy.quantization.inputs import round_by_token, round_to


class RoundedInputs:
    """The sites of a model whose inputs are rounded to int8."""

    def __init__(self, weights: Weights, sites: Iterable[Site], *, static: bool) -> None:
        """*static*: whether all tokens share a scale; otherwise each has its own."""
        self._weights, self._static = weights, static
        self._sites = {reader: site for site in sites for reader in site.readers}

    def prepare(self, inputs: Pair, reader: str, importance: Floats | None) -> None:
        """Choose for the site that a weight reads, and smooth and round its *inputs* in place.

        Nothing is done the second time, and where the weight reads no such site.
        """
        site = self.choose(reader, inputs.rounded, importance)
        if site:
            self.smooth(site, inputs.exact)
            self.round(site, inputs.rounded)

    def choose(self, reader: str, inputs: Floats, importance: Floats | None) -> Site | None:
        """Choose for the site that a weight reads, by inputs [T, K]; see `prepare`.

        Returns:
            The site, the first time.
        """
        site, store = self._sites.get(reader), self._weights.store
        if site is None or store.chosen(site) is not None:
            return None
        blocks = [
            partial(self._weights.exact, name, rows)
            for name in site.readers
            for rows in self._weights.spans(name)
        ]
        found = choose(
            site, inputs, blocks, self._limits(site), importance=importance, static=self._static
        )
        for maker in site.makers:
            if maker in store.places:
                store.divide_scales(maker, found.exponents)
        store.choose(site, found)
        return site

    def smooth(self, site: Site, values: Floats) -> None:
        """Divide values [T, K] of either model by the factors."""
        s = factors(site.to_channels(self._choice(site).exponents))

        def part(tokens: slice) -> None:
            values[tokens] /= s

        run(part, spans(*values.shape))

    def round(self, site: Site, values: Floats) -> None:
        """Divide values [T, K] of the quantized model by the factors, and round them."""
        exponents, scale = self._choice(site)
        s = factors(site.to_channels(exponents))

        def part(tokens: slice) -> None:
            x = values[tokens] / s
            values[tokens] = round_by_token(x) if scale is None else round_to(x, scale)

        run(part, spans(*values.shape))

    def _choice(self, site: Site) -> Choice:
        found = self._weights.store.chosen(site)
        if found is None:
            raise ValueError(f"nothing is chosen for the inputs of {site.name}")
        return found

    def _limits(self, site: Site) -> tuple[Exponents, Exponents] | None:
        """What all makers stand; None without any."""
        found = [exponent_limits(self._scaled(maker)) for maker in site.makers]
        if not found:
            return None
        low, high = zip(*found, strict=True)
        return np.max(low, axis=0), np.min(high, axis=0)

    def _scaled(self, maker: str) -> Floats:
        """What a division changes of a maker: a vector's elements, or the scales of its rows."""
        store = self._weights.store
        if maker not in store.places:
            return self._weights.source.rows(maker)
        rows = store.read(maker, 0, store.places[maker].shape[0])
        return rows.scales.astype(np.float32).reshape(-1)
