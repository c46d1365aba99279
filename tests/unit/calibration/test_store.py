"""Codes on the disk: written in any order of rows, read back bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.calibration.store import JOURNAL, CodeStore
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.quantized import Quantized

shapes = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 5), st.sampled_from(["int4", "int8"]),
              st.booleans(), st.sampled_from([-1, 16, 32])),
    min_size=1, max_size=4,
)  # fmt: skip


def draw(shape: tuple[int, int], precision: Precision, seed: int) -> Quantized:
    weights = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return quantize(weights, precision)


@given(shapes)
def test_what_is_written_is_read(drawn: list[tuple[int, int, Any, bool, int]]) -> None:
    tensors, made = [], {}
    for number, (rows, groups, dtype, symmetric, size) in enumerate(drawn):
        precision = Precision(dtype=dtype, symmetric=symmetric, group_size=size)
        columns = 2 * groups + 1 if size == -1 else groups * size  # rows of an odd length, too
        tensors.append(TensorPlan(str(number), (rows, columns), "linear", precision, 0))
        made[str(number)] = draw((rows, columns), precision, number)
    with tempfile.TemporaryDirectory() as folder:
        store = CodeStore(Path(folder), tensors)
        for name, whole in made.items():
            half = len(whole.codes) // 2
            for part in (slice(half, None), slice(half)):
                if whole.codes[part].size:
                    store.write(name, part.start or 0, _rows(whole, part))
        for name, whole in made.items():
            found = store.read(name, 1, len(whole.codes))
            wanted = _rows(whole, slice(1, None))
            assert np.array_equal(found.codes, wanted.codes)
            assert found.codes.dtype == wanted.codes.dtype
            assert np.array_equal(found.scales, wanted.scales)
            if wanted.zero_points is None:
                assert found.zero_points is None
            else:
                assert found.zero_points is not None
                assert np.array_equal(found.zero_points, wanted.zero_points)
        del store


def _rows(whole: Quantized, part: slice) -> Quantized:
    points = None if whole.zero_points is None else whole.zero_points[part]
    return Quantized(whole.precision, whole.codes[part], whole.scales[part], points)


def test_a_line_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    tensor = TensorPlan("w", (2, 16), "linear", Precision(dtype="int4"), 0)
    store = CodeStore(tmp_path, [tensor])
    assert store.finished() == (0, {})
    store.finish(1, {"a": 0.5})
    store.finish(2, {"w": 0.25})
    whole = (tmp_path / JOURNAL).read_text()
    assert store.finished() == (2, {"a": 0.5, "w": 0.25})
    for length in range(whole.index("\n") + 1, len(whole)):
        (tmp_path / JOURNAL).write_text(whole[:length])
        assert store.finished() == (1, {"a": 0.5})
        store.finish(2, {"w": 0.125})
        assert store.finished() == (2, {"a": 0.5, "w": 0.125})
