"""Plans and exports of tiny models in any format of the native exporter, without a manifest."""

from __future__ import annotations

from pathlib import Path

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.exporters.native import NativeExporter
from qdeploy.interface import Progress
from qdeploy.planning.calibration import Calibration
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import parse_profile
from qdeploy.targets import CPU, INTEL_CPU

PROFILE = """\
schema = 1
target = "{target}"
format = "{format}"
why = "For tests."
[weights]
linear = {linear}
embedding = {embedding}
lm_head = {head}
[graph]
{graph}
[kv_cache]
dtype = "fp32"
"""
FLOAT = '{ dtype = "fp16" }'


def resolve(
    folder: Path,
    *,
    linear: str = FLOAT,
    embedding: str = FLOAT,
    head: str | None = None,
    format: str = "openvino",
    graph: str = "",
    context: int | None = None,
    adapter: Path | None = None,
    requantize: bool = False,
    calibration: Calibration | None = None,
) -> Plan:
    """Plan the checkpoint in *folder*. Precisions are TOML tables, *graph* is lines of TOML.

    The *head* is stored as the *embedding* unless it is given.
    """
    target = INTEL_CPU if format == "openvino" else CPU
    text = PROFILE.format(
        target=target.name, linear=linear, embedding=embedding, head=head or embedding,
        format=format, graph=graph,
    )  # fmt: skip
    chosen = parse_profile(text, "made-up", where="a test")
    found = read_checkpoint(folder, adapter=adapter)
    return make_plan(
        found, chosen, target, context=context, requantize=requantize, calibration=calibration
    )


def export(resolved: Plan, folder: Path) -> Path:
    """Export into *folder*, without a manifest, and return it."""
    folder.mkdir()
    assert NativeExporter().why_not(resolved) is None
    NativeExporter().export(resolved, folder, Progress())
    return folder
