"""Weights are written to their offsets for any block size and after any interruption."""

from __future__ import annotations

import errno
import os
import threading
import time
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.errors import QdeployError
from qdeploy.exporters.native.openvino.packing import Dense
from qdeploy.exporters.native.weights_file import writer
from qdeploy.exporters.native.weights_file.block import Block, blocks
from qdeploy.exporters.native.weights_file.journal import Journal
from qdeploy.exporters.native.weights_file.layout import Span, WeightsLayout
from qdeploy.exporters.native.weights_file.packing import CACHE_LINE, packed_bytes
from qdeploy.planning.tensor_spec import FLOAT, TensorPlan
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.packing import unpack4
from qdeploy.quantization.precision import Precision

PRECISIONS = [
    FLOAT,
    Precision(dtype="int4"),
    Precision(dtype="int4", symmetric=True),
    Precision(dtype="int4", group_size=16),
    Precision(dtype="int4", symmetric=True, group_size=16),
    Precision(dtype="int8"),
    Precision(dtype="int8", symmetric=True, group_size=16),
]
SHAPES = {"even": (6, 32), "an odd number of rows": (7, 32), "one row": (1, 48), "long": (64, 16)}


class Given:
    """A source of made-up weights that is as good as the real one here."""

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self.weights = weights
        self.asked: list[str] = []

    def rows(self, name: str, start: int, stop: int, *, out: NDArray[np.float32]) -> None:
        self.asked.append(name)
        out[:] = self.weights[name][start:stop]


def draw(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def lay_out(weights: dict[str, NDArray[np.float32]], precision: Precision) -> WeightsLayout:
    """The layout of weights that all have this precision, but for vectors."""
    plans = {}
    for name, values in weights.items():
        chosen = precision if values.ndim > 1 else FLOAT
        plans[name] = TensorPlan(name, values.shape, "linear", chosen, 0)
    return WeightsLayout(plans, Dense())


def write(layout: WeightsLayout, source: Any, folder: Path) -> bytes:
    journal = Journal(folder / "journal.json", "test")
    writer.write(layout, source, folder / "weights.bin", journal, lambda _: None)
    return (folder / "weights.bin").read_bytes()


def unpack(content: bytes, span: Span, shape: tuple[int, ...], precision: Precision) -> Any:
    """Codes or zero points, as they were before they were packed."""
    raw = np.frombuffer(content, np.uint8, span.size, span.offset)
    if precision.bits == 4:
        return unpack4(raw, shape, symmetric=precision.symmetric)
    return raw.view(np.int8 if precision.symmetric else np.uint8).reshape(shape)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "blocks", small)


def small(layout: WeightsLayout) -> list[Block]:
    return blocks(layout, 64)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_a_matrix(precision: Precision, shape: tuple[int, int], tmp_path: Path) -> None:
    weights = {"before": draw(5), "it": draw(*shape), "after": draw(3, seed=1)}
    layout = lay_out(weights, precision)
    vectors = [layout.weight("before"), layout.weight("after")]
    stored = layout.weight("it")
    content = write(layout, Given(weights), tmp_path)
    for vector in vectors:
        found = np.frombuffer(content, np.float16, vector.shape[0], vector.codes.offset)
        np.testing.assert_array_equal(found, weights[vector.tensors[0]].astype(np.float16))
    if precision == FLOAT:
        found = np.frombuffer(content, np.float16, prod(shape), stored.codes.offset)
        np.testing.assert_array_equal(found.reshape(shape), weights["it"].astype(np.float16))
        return
    wanted = quantize(weights["it"], precision)
    assert stored.scales is not None
    np.testing.assert_array_equal(unpack(content, stored.codes, shape, precision), wanted.codes)
    scales = np.frombuffer(content, np.float16, wanted.scales.size, stored.scales.offset)
    np.testing.assert_array_equal(scales.reshape(wanted.scales.shape), wanted.scales)
    assert (stored.zero_points is None) == (wanted.zero_points is None)
    if stored.zero_points and wanted.zero_points is not None:
        points = unpack(content, stored.zero_points, wanted.zero_points.shape, precision)
        np.testing.assert_array_equal(points, wanted.zero_points)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_a_stack_is_its_members_one_after_another(precision: Precision, tmp_path: Path) -> None:
    weights = {f"{i}": draw(6, 32, seed=i) for i in range(3)}
    stacked = lay_out(weights, precision)
    stored = stacked.weight(*weights)
    content = write(stacked, Given(weights), tmp_path)
    for number, (name, values) in enumerate(weights.items()):
        alone = lay_out({name: values}, precision)
        single = alone.weight(name)
        folder = tmp_path / name
        folder.mkdir()
        wanted = write(alone, Given(weights), folder)
        for span, part in zip(_spans(stored), _spans(single), strict=True):
            start = span.offset + number * part.size
            assert content[start : start + part.size] == wanted[part.offset :][: part.size]


def _spans(stored: Any) -> list[Span]:
    return [s for s in (stored.codes, stored.scales, stored.zero_points) if s]


def test_whatever_was_done_before_the_bytes_are_the_same(tmp_path: Path) -> None:
    weights = {"one": draw(12, 32), "vector": draw(9), "other": draw(8, 48, seed=1)}
    layout = lay_out(weights, Precision(dtype="int4", group_size=16))
    layout.inline(b"a constant")
    for name in weights:
        layout.weight(name)
    whole = write(layout, Given(weights), tmp_path)
    count = len(small(layout))
    assert count > 8
    for done in range(count + 1):
        folder = tmp_path / str(done)
        folder.mkdir()
        first = small(layout)[done:]
        kept = bytearray(whole)
        for block in first:  # what an interrupted run has not written yet
            for span in _spans(block.stored):
                kept[span.offset : span.offset + span.size] = bytes(span.size)
        (folder / "weights.bin").write_bytes(_with_done(whole, kept, layout, done))
        Journal(folder / "journal.json", "test").record(done)
        source = Given(weights)
        assert write(layout, source, folder) == whole
        assert len(source.asked) == count - done


def _with_done(whole: bytes, empty: bytearray, layout: WeightsLayout, done: int) -> bytes:
    """A file in which the first blocks are written and the others are not."""
    for block in small(layout)[:done]:
        stored, shape = block.stored, block.stored.shape
        width = prod(shape[1:])
        row = block.member * shape[0]
        for span, each, bits in (
            (stored.codes, width, stored.precision.bits),
            (stored.scales, stored.groups if stored.scales else 0, 16),
            (stored.zero_points, stored.groups if stored.zero_points else 0, 4),
        ):
            if span:
                start = span.offset + packed_bytes((row + block.start) * each, bits)
                stop = span.offset + packed_bytes((row + block.stop) * each, bits)
                empty[start:stop] = whole[start:stop]
    return bytes(empty)


def test_the_journal_is_written_when_enough_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(Journal, "record", lambda _, done: counts.append(done))
    weights = {"it": draw(64, 16)}
    layout = lay_out(weights, FLOAT)
    layout.weight("it")
    monkeypatch.setattr(writer, "SAFE_AFTER_BYTES", 512)
    write(layout, Given(weights), tmp_path)  # a block has 4 rows, 128 bytes
    assert counts == [4, 8, 12, 16, 16]


def test_without_its_file_a_journal_counts_for_nothing(tmp_path: Path) -> None:
    weights = {"it": draw(64, 16)}
    layout = lay_out(weights, FLOAT)
    layout.weight("it")
    Journal(tmp_path / "journal.json", "test").record(5)
    assert write(layout, Given(weights), tmp_path)[:2048] == weights["it"].astype("f2").tobytes()


@pytest.mark.parametrize("precision", [FLOAT, Precision(dtype="int4"), Precision(dtype="int8")])
def test_a_weight_that_cannot_be_stored_is_named(precision: Precision, tmp_path: Path) -> None:
    weights = {"good": draw(8, 16), "bad": draw(8, 16)}
    weights["bad"][5, 7] = 1e9
    layout = lay_out(weights, precision)
    for name in weights:
        layout.weight(name)
    with pytest.raises(QdeployError) as caught:
        write(layout, Given(weights), tmp_path)
    assert caught.value.where == "bad"


def test_after_a_full_disk_nobody_reads_the_source_any_more(tmp_path: Path) -> None:
    """Its files can be closed at once, whoever still looks at the error."""

    class Slow(Given):
        def rows(self, *arguments: Any, **out: Any) -> None:
            time.sleep(0.01)
            super().rows(*arguments, **out)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    weights = {"it": draw(400, 16)}
    layout = lay_out(weights, FLOAT)
    layout.weight("it")
    source: Any = Slow(weights)
    before = threading.active_count()
    journal = Journal(tmp_path / "journal.json", "test")
    with pytest.raises(OSError, match="space") as caught:
        writer.write(layout, source, tmp_path / "weights.bin", journal, full)
    assert threading.active_count() == before
    assert caught.value.errno == errno.ENOSPC


class TestLayout:
    def test_nothing_overlaps_and_weights_begin_at_cache_lines(self) -> None:
        weights = {"one": draw(7, 32), "vector": draw(9), "other": draw(5, 48)}
        layout = lay_out(weights, Precision(dtype="int4", group_size=16))
        layout.inline(b"abc")
        for name in weights:
            layout.weight(name)
        layout.inline(b"defg")
        spans = [s for stored in layout.weights for s in _spans(stored)]
        spans += [Span(offset, len(content)) for offset, content in layout.inlined]
        spans.sort(key=lambda s: s.offset)
        assert all(s.offset % CACHE_LINE == 0 for s in spans)
        assert all(a.offset + a.size <= b.offset for a, b in pairwise(spans))
        assert layout.size == spans[-1].offset + spans[-1].size

    def test_what_is_used_twice_is_stored_once(self) -> None:
        layout = lay_out({"it": draw(8, 16)}, FLOAT)
        assert layout.weight("it") is layout.weight("it")
        assert layout.inline(b"abc") == layout.inline(b"abc")
        assert len(layout.weights) == len(layout.inlined) == 1
