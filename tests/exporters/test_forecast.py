"""The forecast for this machine beside a run on it.

A speed in a test, which others have not: a factor of two is what the forecast claims, and the test
holds it to. Bandwidth, rate and speeds are measured by turns in one run and medians compared, so
that a busy machine slows all of them alike.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import pytest

from qdeploy import registry
from qdeploy.checkpoint.checkpoint import read_checkpoint
from qdeploy.deploy import run
from qdeploy.deploy.export import export
from qdeploy.forecast import hardware
from qdeploy.forecast.forecast import of_plan
from qdeploy.forecast.hardware import DeviceSpec
from qdeploy.interface import Progress, Request, Session
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.system import bandwidth
from qdeploy.targets import INTEL_CPU
from tests.support.checkpoints import header, shape_of_0_6b, shapes, write_header, write_sidecars
from tests.support.real import NEEDS_RUNTIME

PROMPT, NEW_TOKENS, ROUNDS = 512, 16, 7
READ_BYTES = 2**29
WITHIN = 2.0
CONFIG = shape_of_0_6b() | {"num_hidden_layers": 10, "vocab_size": 32768, "rms_norm_eps": 1e-6}
"""Qwen3-0.6B cut to 10 layers: 115 MB of int4, far above what a core has for itself."""


def write_model(folder: Path) -> Path:
    """A checkpoint whose matrices repeat one small random block: values do not change speeds."""
    write_sidecars(folder, CONFIG)
    values = np.random.default_rng(0).standard_normal(2**18, dtype=np.float32) / 30
    block = (values.view(np.uint32) >> 16).astype(np.uint16)
    entries, _ = header(shapes(CONFIG))
    write_header(folder / "model.safetensors", entries, 0)
    with (folder / "model.safetensors").open("ab") as out:
        for shape in shapes(CONFIG).values():
            out.write(np.resize(block, prod(shape)).tobytes())
    return folder


@dataclass(frozen=True)
class Round:
    """One turn: what the machine did, and what the model did, in units a second."""

    nbytes: float
    operations: float
    prefill: float
    decode: float


def take_turn(session: Session, number: int) -> Round:
    nbytes = bandwidth.read_bytes_per_s(READ_BYTES, passes=1)
    operations = bandwidth.float32_flops_per_s(passes=1)
    prompt = tuple((i * 37 + number * 13) % 2000 for i in range(PROMPT))
    begin = time.perf_counter()
    stamps = [t.timestamp for t in session.generate(Request(prompt, NEW_TOKENS))]
    gaps = [after - before for before, after in pairwise(stamps)]
    return Round(nbytes, operations, PROMPT / (stamps[0] - begin), 1 / statistics.median(gaps))


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    found = read_checkpoint(write_model(tmp_path_factory.mktemp("forecast") / "model"))
    return make_plan(found, load_profile("intel-cpu-int4"), INTEL_CPU, context=2048)


@NEEDS_RUNTIME
@pytest.mark.slow
def test_the_forecast_for_this_machine_is_within_a_factor_of_two(
    resolved: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    exporter = registry.exporter_for(resolved.format)
    bundle = export(resolved, exporter, tmp_path / "bundle", Progress(), force=False)
    with run.load(bundle, run.choose(bundle)) as session:
        rounds = [take_turn(session, number) for number in range(ROUNDS)]
    middle = {
        name: statistics.median(getattr(r, name) for r in rounds)
        for name in ("nbytes", "operations", "prefill", "decode")
    }
    here = DeviceSpec(
        name=hardware.THIS_CPU,
        targets=(INTEL_CPU.name,),
        memory_bytes=2**40,
        bytes_per_s=middle["nbytes"],
        float_per_s=middle["operations"],
        sources={"all": hardware.MEASURED},
    )
    row = of_plan(resolved, here, prompt=PROMPT)
    assert row.decode_tokens_per_s is not None
    assert row.prefill_tokens_per_s is not None
    ratios = {
        "decode": row.decode_tokens_per_s / middle["decode"],
        "prefill": row.prefill_tokens_per_s / middle["prefill"],
    }
    print(ratios, middle)
    assert all(1 / WITHIN <= ratio <= WITHIN for ratio in ratios.values()), (ratios, middle)
