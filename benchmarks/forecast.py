"""Run a bundle on this CPU and compare its speed with the forecast for it.

    python benchmarks/forecast.py BUNDLE MODEL [--rounds 7] [--prompt 512] [--new 16]

MODEL is the checkpoint that BUNDLE was exported from. Memory bandwidth, the float32 rate, prefill
and decode are measured in turns and their medians compared, so a busy machine slows all of them
alike. The last lines are the shares that `qdeploy/forecast/share.py` keeps: exit code 1 means that
the forecast is more than a factor of two away from the measured speed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

from qdeploy import registry
from qdeploy.bundle import open_bundle
from qdeploy.checkpoint import hub
from qdeploy.deploy import run
from qdeploy.forecast import hardware, roofline
from qdeploy.forecast.forecast import of_plan
from qdeploy.forecast.hardware import DeviceSpec
from qdeploy.forecast.share import arithmetic_of
from qdeploy.interface import Request, Session
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.system import bandwidth, info

READ_BYTES = 2**29
WITHIN = 2.0


@dataclass(frozen=True)
class Round:
    """One turn, in units a second: bytes read, float32 operations, prompt tokens, new tokens."""

    nbytes: float
    operations: float
    prefill: float
    decode: float


def take_turn(session: Session, prompt: int, new: int, number: int) -> Round:
    """Measure the machine, then one request."""
    nbytes = bandwidth.read_bytes_per_s(READ_BYTES, passes=1)
    operations = bandwidth.float32_flops_per_s(passes=1)
    ids = tuple((i * 37 + number * 13) % 2000 for i in range(prompt))
    begin = time.perf_counter()
    stamps = [token.timestamp for token in session.generate(Request(ids, new))]
    gaps = [after - before for before, after in pairwise(stamps)]
    return Round(nbytes, operations, prompt / (stamps[0] - begin), 1 / statistics.median(gaps))


def medians(rounds: list[Round]) -> Round:
    """The median of each figure by itself."""
    return Round(*(statistics.median(getattr(r, f.name) for r in rounds) for f in fields(Round)))


def report(plan: Plan, measured: Round, prompt: int) -> bool:
    """Print forecast and measurement; return whether they are within a factor of two."""
    arithmetic = arithmetic_of(info.cpu_flags())
    spec = DeviceSpec(
        name=hardware.THIS_CPU, targets=(plan.target.name,), memory_bytes=2**40,
        bytes_per_s=measured.nbytes, fp32_flops=measured.operations, arithmetic=arithmetic,
        sources={"all": hardware.MEASURED},
    )  # fmt: skip
    row = of_plan(plan, spec, prompt=prompt)
    forecast = {"prefill": row.prefill_tokens_per_s, "decode": row.decode_tokens_per_s}
    within = True
    print(f"{info.cpu_name()}, {arithmetic}, {info.cores()} processors; forecast: {row.speeds}")
    print(
        f"memory {measured.nbytes / 1e9:.1f} GB/s, float32 {measured.operations / 1e9:.0f} GFLOPS"
    )
    for name, predicted in forecast.items():
        speed = getattr(measured, name)
        ratio = (predicted or 0) / speed
        within &= 1 / WITHIN <= ratio <= WITHIN
        print(f"{name}: {speed:.1f} tok/s, forecast {predicted or 0:.1f}, ratio {ratio:.2f}")
    reads, computes = roofline.decode(plan, prompt), roofline.prefill(plan, prompt)
    memory = reads.nbytes * measured.decode / measured.nbytes
    compute = computes.operations * measured.prefill / prompt / measured.operations
    print(f"share of the bandwidth in decode {memory:.2f}, of float32 in prefill {compute:.2f}")
    return within


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("model", help="the checkpoint it was exported from")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=512, help="tokens")
    parser.add_argument("--new", type=int, default=16, help="tokens")
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    plan = make_plan(
        hub.resolve(options.model), manifest.profile, registry.target(manifest.target),
        context=manifest.model.context_length,
    )  # fmt: skip
    with run.load(bundle, run.choose(bundle)) as session:
        turns = range(options.rounds)
        rounds = [take_turn(session, options.prompt, options.new, n) for n in turns]
    return 0 if report(plan, medians(rounds), options.prompt) else 1


if __name__ == "__main__":
    sys.exit(main())
