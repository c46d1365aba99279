"""Limits as users say them, and plans that keep them before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qdeploy.errors import InputError
from qdeploy.planning.limit import Limit, limit_of
from qdeploy.planning.linear import average_bits
from qdeploy.planning.mixed import keep
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.targets import CPU
from tests.support.checkpoints import write_checkpoint


@pytest.mark.parametrize(
    ("said", "nbytes"),
    [("4GiB", 2**32), ("4 GB", 4 * 10**9), ("1.5kB", 1500), ("500mb", 5 * 10**8), (77, 77)],
)
def test_sizes(said: Any, nbytes: int) -> None:
    assert limit_of(None, said) == Limit(bundle_bytes=nbytes)


@pytest.mark.parametrize("said", ["4", "GiB", "-4GiB", "4 gigs", "4GiBs", ""])
def test_what_is_no_size_is_refused(said: str) -> None:
    with pytest.raises(InputError, match="no size"):
        limit_of(None, said)


def test_one_limit_or_none() -> None:
    assert limit_of(None, None) is None
    assert limit_of(4.25, None) == Limit(average_bits=4.25)
    with pytest.raises(InputError, match="two limits"):
        limit_of(4.25, "4GiB")
    for bits in (0.0, float("nan"), 17):
        with pytest.raises(InputError, match="bits on average"):
            limit_of(bits, None)


def test_a_forecast_keeps_the_limit(tmp_path: Path) -> None:
    from qdeploy.checkpoint.read import read_checkpoint

    found = read_checkpoint(write_checkpoint(tmp_path))
    plan = make_plan(found, load_profile("cpu-int4-openvino"), CPU)
    assert keep(plan) == plan
    bits = keep(replace(plan, limit=Limit(average_bits=5)))
    assert 4.8 < average_bits(bits.linears) <= 5
    most = plan.bundle_bytes + 100_000
    size = keep(replace(plan, limit=Limit(bundle_bytes=most)))
    assert plan.bundle_bytes < size.bundle_bytes <= most
    assert keep(size) == size
