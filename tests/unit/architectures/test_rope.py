"""Rotary frequencies equal those of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qdeploy.architectures.rope import make_rope

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}

# head size, parameters, attention factor, and frequencies at 0, 1, d/8, d/6, d/5, d/4, d/2 - 1;
# printed by ROPE_INIT_FUNCTIONS["yarn"] of transformers 5.5.4 for a base of 1e6
REFERENCE: list[tuple[int, dict[str, Any], float, list[float]]] = [
    (128, {}, 1.138629436111989,
     [1.0, 0.805842221, 0.0316227786, 0.0107460786, 0.0041317381, 0.000602941145, 3.10234441e-07]),
    (64, {"beta_fast": 16, "beta_slow": 2}, 1.138629436111989,
     [1.0, 0.649381638, 0.0316227786, 0.0133352149, 0.00562341325, 0.000625000044, 3.84981632e-07]),
    (128, {"mscale": 1.0, "mscale_all_dim": 0.5}, 1.0648216253695715,
     [1.0, 0.805842221, 0.0316227786, 0.0107460786, 0.0041317381, 0.000602941145, 3.10234441e-07]),
    (128, {"truncate": False}, 1.138629436111989,
     [1.0, 0.805842221, 0.0316227786, 0.0107460786, 0.0042343582, 0.000607408001, 3.10234441e-07]),
]  # fmt: skip


@pytest.mark.parametrize(("size", "more", "factor", "frequencies"), REFERENCE)
def test_yarn(size: int, more: dict[str, Any], factor: float, frequencies: list[float]) -> None:
    made = make_rope(1e6, size, {**YARN, **more}, 40960)
    picked = made.frequencies[[0, 1, size // 8, size // 6, size // 5, size // 4, size // 2 - 1]]
    np.testing.assert_allclose(picked, frequencies, rtol=3e-7)
    assert made.attention_factor == pytest.approx(factor, rel=1e-12)


LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip

# head size, parameters, and frequencies at 0, 1, d/8, d/6, d/5, d/4, 7d/20, d/2 - 1;
# printed by ROPE_INIT_FUNCTIONS["llama3"] of transformers 5.5.4 for a base of 5e5
LLAMA3_REFERENCE: list[tuple[int, dict[str, Any], list[float]]] = [
    (128, {}, [1.0, 0.814617217, 0.0376060307, 0.0134904198, 0.00594073068, 0.000524846022,
               1.50962178e-05, 3.06892588e-07]),
    (64, {"factor": 32.0}, [1.0, 0.663601279, 0.0376060307, 0.0165604409, 0.00729266508,
                            0.000429556705, 3.77405445e-06, 9.41830649e-08]),
    (128, {"low_freq_factor": 2.0, "high_freq_factor": 3.0},
     [1.0, 0.814617217, 0.0376060307, 0.0134904198, 0.00594073068, 0.000176776681,
      1.50962178e-05, 3.06892588e-07]),
]  # fmt: skip


@pytest.mark.parametrize(("size", "more", "frequencies"), LLAMA3_REFERENCE)
def test_llama3(size: int, more: dict[str, Any], frequencies: list[float]) -> None:
    made = make_rope(5e5, size, {**LLAMA3, **more}, 131072)
    picked = [0, 1, size // 8, size // 6, size // 5, size // 4, 7 * size // 20, size // 2 - 1]
    np.testing.assert_allclose(made.frequencies[picked], frequencies, rtol=1e-6)
    assert made.attention_factor == 1.0


@pytest.mark.parametrize("scaling", [None, {"rope_type": "default"}])
def test_without_yarn_frequencies_fall_from_one_geometrically(scaling: dict[str, Any]) -> None:
    made = make_rope(1e6, 128, scaling, 40960)
    np.testing.assert_allclose(made.frequencies, 1e6 ** -(np.arange(64) / 64), rtol=3e-7)
    assert made.attention_factor == 1.0


def test_a_given_attention_factor_is_taken() -> None:
    assert make_rope(1e6, 128, {**YARN, "attention_factor": 1.5}, 0).attention_factor == 1.5


def test_the_factor_follows_from_the_lengths_where_it_is_not_given() -> None:
    given = make_rope(1e6, 128, YARN, 131072)
    derived = make_rope(1e6, 128, {**YARN, "factor": None}, 131072)
    np.testing.assert_array_equal(given.frequencies, derived.frequencies)
    assert given.attention_factor == derived.attention_factor
