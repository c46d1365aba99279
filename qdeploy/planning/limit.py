"""`Limit`: how many bits, or bytes, a plan may take at most."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qdeploy.errors import InputError

SIZE = re.compile(r"(?P<number>\d{1,9}(\.\d{1,3})?) ?(?P<unit>[kMGT]i?B)", re.IGNORECASE)
POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class Limit:
    """One of the two is set.

    Attributes:
        average_bits: of the linear weights, with scales and zero points.
        bundle_bytes: of the whole bundle, as its plan predicts it.
    """

    average_bits: float | None = None
    bundle_bytes: int | None = None


def limit_of(average_bits: float | None, fit: int | str | None) -> Limit | None:
    """The limit that a user asks for: bits on average, or a size (`4GiB`); None for none.

    Raises:
        InputError: both, or what is no number of bits or no size.
    """
    if average_bits is None and fit is None:
        return None
    if average_bits is not None and fit is not None:
        raise InputError("two limits, --average-bits and --fit", fix="leave out one of them")
    if average_bits is not None:
        if not 1 <= average_bits <= 16:
            raise InputError(f"{average_bits:g} bits on average", fix="a number from 4 to 8")
        return Limit(average_bits=average_bits)
    if isinstance(fit, int):
        return Limit(bundle_bytes=fit)
    if not (found := SIZE.fullmatch(fit or "")):
        raise InputError(f"no size: {fit!r}", fix="a number with its unit, e.g. 4GiB or 500MB")
    prefix, binary = found["unit"][0].lower(), len(found["unit"]) == 3
    power = (1024 if binary else 1000) ** POWERS[prefix]
    return Limit(bundle_bytes=int(float(found["number"]) * power))
