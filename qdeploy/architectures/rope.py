"""Rotary position embedding: the frequency of each pair of dimensions, and how it is scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Rope:
    """The rotation of a model.

    Attributes:
        frequencies: radians a position, float32 [head_dim / 2].
        attention_factor: what cosine and sine are multiplied by; 1 without YaRN.
    """

    frequencies: NDArray[np.float32]
    attention_factor: float

    def table(self, positions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosine and sine of the first *positions*, float32 [positions, head_dim / 2] each."""
        import numpy as np

        angles = np.outer(np.arange(positions, dtype=np.float32), self.frequencies)
        factor = np.float32(self.attention_factor)
        return np.cos(angles) * factor, np.sin(angles) * factor


def make_rope(theta: float, head_dim: int, scaling: Mapping[str, Any] | None, longest: int) -> Rope:
    """Compute the rotation of heads of *head_dim* elements.

    Args:
        theta: the base, e.g. 1e6.
        head_dim: elements of a head, twice the number of frequencies.
        scaling: parameters by their names in `config.json`, of a type in `SCALINGS`, or None.
        longest: the model's positions before scaling, used where *scaling* does not have them.
    """
    import numpy as np

    exponents = np.arange(0, head_dim, 2, dtype=np.int64).astype(np.float32) / np.float32(head_dim)
    # float32 throughout, as in transformers: at position 100 000 the last bit of a frequency is an
    # angle of 0.006 radians
    plain = np.float32(1) / np.power(np.float32(theta), exponents, dtype=np.float32)
    scale = SCALINGS.get(scaling.get("rope_type", scaling.get("type"))) if scaling else None
    return scale(plain, theta, scaling, longest) if scale and scaling else Rope(plain, 1.0)


def _yarn(
    plain: NDArray[np.float32], theta: float, scaling: Mapping[str, Any], longest: int
) -> Rope:
    """YaRN (arXiv:2309.00071): low frequencies are interpolated, high ones kept.

    The formulas are those of `_compute_yarn_parameters` in transformers' modeling_rope_utils.py.
    """
    import numpy as np

    head_dim = 2 * len(plain)
    original = scaling.get("original_max_position_embeddings") or longest
    factor = float(scaling.get("factor") or longest / original)
    fast, slow = scaling.get("beta_fast") or 32.0, scaling.get("beta_slow") or 1.0

    def dimension(rotations: float) -> float:
        """The dimension with *rotations* full turns over the original context (formula 17)."""
        return head_dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(fast), dimension(slow)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low or 0.001
    ramp = (np.arange(head_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(width)
    kept = 1 - np.clip(ramp, 0, 1)
    frequencies = plain / np.float32(factor) * (1 - kept) + plain * kept
    return Rope(frequencies.astype(np.float32), _attention_factor(factor, scaling))


def _attention_factor(factor: float, scaling: Mapping[str, Any]) -> float:
    """Square root of the factor on attention's logits (formula 22)."""
    given = scaling.get("attention_factor")
    if given is not None:
        return float(given)

    def grown(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    one, all_ = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return grown(one) / grown(all_) if one and all_ else grown(1.0)


def _llama3(
    plain: NDArray[np.float32], theta: float, scaling: Mapping[str, Any], longest: int
) -> Rope:
    """Llama 3.1: divide low frequencies by the factor, keep high ones, blend those between.

    The formulas are those of `_compute_llama3_parameters` in transformers' modeling_rope_utils.py.
    """
    import numpy as np

    factor, original = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelengths = 2 * math.pi / plain
    divided = np.where(wavelengths > original / low, plain / np.float32(factor), plain)
    kept = (original / wavelengths - low) / (high - low)
    blended = (1 - kept) * divided / np.float32(factor) + kept * divided
    between = (wavelengths >= original / high) & (wavelengths <= original / low)
    return Rope(np.where(between, blended, divided).astype(np.float32), 1.0)


Scaling = Callable[["NDArray[np.float32]", float, Mapping[str, Any], int], Rope]
SCALINGS: dict[str | None, Scaling] = {"yarn": _yarn, "llama3": _llama3}
"""How the plain frequencies are scaled, by `rope_type` in `config.json`."""
