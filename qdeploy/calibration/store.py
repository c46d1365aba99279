"""The codes that calibration found: one file, and a journal of what is finished.

<cache>/calibrations/<model>-<16 hex digits>/
    codes.bin      of every calibrated weight, at a place that follows from the plan: codes, two a
                   byte where they have four bits, scales, zero points; then of all inputs that
                   are rounded: exponents of their factors, and a static scale
    journal.jsonl  a line for each finished step: its number and the losses of its weights
    record.json    what was done; there once all is finished
    lock           held by the process that calibrates

A line of the journal is written after the codes that it tells of are on the disk. Codes of one
model, in one precision, are the same for every target and format, so all exports share them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.calibration.smoothing.factors import SmoothedReader
from qdeploy.calibration.smoothing.planned import rounded_sites
from qdeploy.calibration.smoothing.search import Choice
from qdeploy.calibration.smoothing.sites import Site
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.errors import ExportFailed
from qdeploy.planning.plan import Plan
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.packing import pack4, unpack4
from qdeploy.quantization.precision import PER_CHANNEL, Precision
from qdeploy.quantization.quantized import Quantized
from qdeploy.storage import cache_root, workdir
from qdeploy.storage.hashing import data_sha256

CODES, JOURNAL, RECORD, LOCK = "codes.bin", "journal.jsonl", "record.json", workdir.LOCK
SCALE_BYTES = 4
VERSION = 1
"""Version of the codes that are found, part of the name: raise it when they change."""


@dataclass(frozen=True)
class Place:
    """Where one weight's parts start in the file.

    Attributes:
        shape: [N, K].
    """

    precision: Precision
    shape: tuple[int, int]
    codes: int
    scales: int
    zero_points: int

    @property
    def groups(self) -> int:
        size = self.precision.group_size
        return 1 if size == PER_CHANNEL else self.shape[1] // size

    @property
    def packs(self) -> bool:
        """Whether two codes share a byte: where rows have an even number of four bits."""
        return self.precision.bits == 4 and self.shape[1] % 2 == 0

    @property
    def row_bytes(self) -> int:
        return self.shape[1] // 2 if self.packs else self.shape[1]


class CodeStore:
    """Codes by the name of the checkpoint's weight. Several threads may write and read rows."""

    def __init__(
        self, folder: Path, tensors: Iterable[TensorPlan], sites: Iterable[Site] = ()
    ) -> None:
        """*tensors*: the calibrated ones of a plan; *sites*: the inputs that are rounded."""
        self.folder, self.sites = folder, tuple(sites)
        self.places = _places(tensors)
        last = max(self.places.values(), key=lambda place: place.zero_points, default=None)
        self.nbytes = last.zero_points + last.shape[0] * last.groups if last else 0
        self._inputs: dict[str, slice] = {}
        for site in self.sites:
            rows = self.places[site.name].shape[1] // site.shared
            start, self.nbytes = self.nbytes, self.nbytes + SCALE_BYTES + rows
            self._inputs[site.name] = slice(start, self.nbytes)
        self._site_of = {reader: site for site in self.sites for reader in site.readers}
        self._chosen = set[str]()

    @cached_property
    def _file(self) -> NDArray[np.uint8]:
        file = self.folder / CODES
        if not file.exists():
            with file.open("wb") as new:
                new.truncate(self.nbytes)
        return np.memmap(file, np.uint8, "r+", shape=(self.nbytes,))

    def write(self, name: str, start: int, rows: Quantized) -> None:
        """Write rows of a weight from *start* on."""
        place, count = self.places[name], len(rows.codes)
        codes = pack4(rows.codes) if place.packs else np.ascontiguousarray(rows.codes)
        self._span(place.codes, start, count, place.row_bytes)[:] = codes.view(np.uint8).reshape(-1)
        scales = np.ascontiguousarray(rows.scales, np.float16).view(np.uint8)
        self._span(place.scales, start, count, 2 * place.groups)[:] = scales.reshape(-1)
        if rows.zero_points is not None:
            points = np.ascontiguousarray(rows.zero_points).reshape(-1)
            self._span(place.zero_points, start, count, place.groups)[:] = points

    def read(self, name: str, start: int, stop: int) -> Quantized:
        """Rows *start* to *stop* of a weight."""
        place, count = self.places[name], stop - start
        precision, shape = place.precision, (count, place.shape[1])
        raw = self._span(place.codes, start, count, place.row_bytes)
        codes: NDArray[Any]
        if place.packs:
            codes = unpack4(raw, shape, symmetric=precision.symmetric)
        else:
            codes = raw.copy().view(np.int8 if precision.symmetric else np.uint8).reshape(shape)
        scales = self._span(place.scales, start, count, 2 * place.groups).copy().view(np.float16)
        points = None
        if precision.has_zero_points:
            stored = self._span(place.zero_points, start, count, place.groups)
            points = stored.copy().reshape(count, place.groups)
        return Quantized(
            precision, codes, scales.reshape(count, place.groups), points, self._input_scale(name)
        )

    def _input_scale(self, name: str) -> float | None:
        site = self._site_of.get(name)
        choice = site and self.chosen(site)
        return float(choice.scale) if choice and choice.scale is not None else None

    def choose(self, site: Site, choice: Choice) -> None:
        """Write what was chosen for the inputs of *site*."""
        scale = np.float32(0 if choice.scale is None else choice.scale)
        stored = self._file[self._inputs[site.name]]
        stored[:SCALE_BYTES] = scale.reshape(1).view(np.uint8)
        stored[SCALE_BYTES:] = choice.exponents.view(np.uint8)
        self._chosen.add(site.name)

    def chosen(self, site: Site) -> Choice | None:
        """What was chosen for the inputs of *site*; None as long as nothing was."""
        if site.name not in self._chosen:
            return None
        stored = self._file[self._inputs[site.name]].copy()
        scale = stored[:SCALE_BYTES].view(np.float32)[0]
        return Choice(stored[SCALE_BYTES:].view(np.int8), scale if scale else None)

    def divide_scales(self, name: str, exponents: NDArray[np.int8]) -> None:
        """Divide the rows of a weight by powers of two, [N]: codes of eight bits stay."""
        place = self.places[name]
        stored = self._span(place.scales, 0, place.shape[0], 2 * place.groups)
        scales = stored.copy().view(np.float16).reshape(place.shape[0], place.groups)
        divided = np.ldexp(scales, -exponents[:, None].astype(np.int32))
        stored[:] = divided.view(np.uint8).reshape(-1)

    def smoothed(self, source: WeightReader) -> WeightReader:
        """The float weights that belong to the codes, from those of the checkpoint."""
        if not self.sites:
            return source

        def exponents(site: Site) -> NDArray[np.int8] | None:
            choice = self.chosen(site)
            return None if choice is None else choice.exponents

        return SmoothedReader(source, self.sites, exponents)

    def finish(self, step: int, losses: Mapping[str, float]) -> None:
        """Record a step of the model, once its codes are on the disk.

        *losses*: of the weights of this step, relative to their outputs' energy.
        """
        if isinstance(self._file, np.memmap):
            self._file.flush()
        line = json.dumps({"step": step, "losses": dict(losses)})
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def finished(self) -> tuple[int, dict[str, float]]:
        """How many steps are finished, and the losses of their weights."""
        steps, losses = 0, dict[str, float]()
        try:
            lines = (self.folder / JOURNAL).read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return 0, losses
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # cut short by a kill
                break
            if row["step"] != steps + 1 or not line.endswith("\n"):
                break
            steps += 1
            losses |= row["losses"]
        self.know(losses)
        # a line that was cut short would spoil the next one
        kept = "".join(lines[:steps])
        if len(kept) < sum(map(len, lines)):
            (self.folder / JOURNAL).write_text(kept, encoding="utf-8")
        return steps, losses

    def know(self, weights: Iterable[str]) -> None:
        """Take what the file says of the inputs of finished *weights*."""
        self._chosen |= self._inputs.keys() & set(weights)

    def _span(self, first: int, start: int, count: int, each: int) -> NDArray[np.uint8]:
        return self._file[first + start * each : first + (start + count) * each]


def store_of(plan: Plan) -> CodeStore:
    """The store of a plan's calibrated weights.

    Its name has a digest of all that decides the codes: the checkpoint's bytes, the weights'
    precisions, the texts, the seed, how positions are scaled, and the task.

    Raises:
        ValueError: the plan has no calibration.
    """
    if plan.calibration is None:
        raise ValueError("a plan without calibration")
    tensors = [t for t in plan.tensors if t.calibrated]
    deciding = [
        plan.digest,
        {t.name: str(t.precision) for t in tensors},
        plan.calibration.deciding(),
        plan.rope_scaling,
        plan.task.model_dump(mode="json"),
        VERSION,
    ]
    if sites := rounded_sites(plan):
        deciding.append(plan.profile.graph.input_activations)
    name = f"{cache_root.plain(plan.checkpoint.name)}-{data_sha256(*deciding)[:16]}"
    return CodeStore(cache_root.calibrations() / name, tensors, sites)


def open_codes(plan: Plan) -> CodeStore:
    """The finished codes of a plan.

    Raises:
        ExportFailed: they are not there: it was not calibrated, or they were removed.
    """
    store = store_of(plan)
    if not (store.folder / RECORD).is_file():
        raise ExportFailed(
            "the codes of its calibration are not there",
            where=store.folder,
            fix="export again, and leave the cache alone meanwhile",
        )
    store.know(store.places)
    return store


def _places(tensors: Iterable[TensorPlan]) -> dict[str, Place]:
    found, offset = {}, 0
    for tensor in tensors:
        rows, columns = tensor.shape[0], prod(tensor.shape[1:])
        place = Place(tensor.precision, (rows, columns), offset, 0, 0)
        scales = -(-(offset + rows * place.row_bytes) // 2) * 2
        points = scales + 2 * rows * place.groups
        found[tensor.source] = Place(tensor.precision, (rows, columns), offset, scales, points)
        offset = points + rows * place.groups
    return found
