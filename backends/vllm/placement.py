"""Proof of placement: what the server says of itself when it starts."""

from __future__ import annotations

from pathlib import Path

from qdeploy.backends.vllm.errors import elsewhere
from qdeploy.backends.vllm.settings import Settings
from qdeploy.engines.vllm.command import PLATFORMS
from qdeploy.engines.vllm.log import read_report
from qdeploy.interface import Placement
from qdeploy.targets import CPU

MOST_BYTES = 2**24
"""Of the log that is read; a server that has just started said some 20 kB."""


def prove_placement(log: Path, settings: Settings) -> Placement:
    """Return where the server says that it runs.

    vLLM names the type of its device. Which ones of a GPU's they are follows from the mask that
    shows it no others.

    Raises:
        PlacementError: it says another type than asked, or none.
    """
    with log.open("rb") as file:
        report = read_report(file.read(MOST_BYTES).decode(errors="replace"))
    wanted = PLATFORMS[settings.served.target].device
    if report is None or report.device != wanted:
        raise elsewhere(report.device if report else None, wanted, log)
    kernels = ", ".join(report.kernels) or "none named"
    shown = f"; {settings.mask}" if settings.mask else ""
    on_cpu = settings.served.target == CPU.name
    if spread := settings.spread:
        return Placement(
            tuple(f"{node.host}: {settings.devices[0].name}" for node in spread.nodes),
            settings.devices[0].evidence,
            f"{spread.sizes} on {len(spread.nodes)} nodes ({spread.way}); device_config of vLLM "
            f"{report.version}, by its log: {report.device}; kernels: {kernels}",
            threads=report.threads if on_cpu else None,
        )
    return Placement(
        tuple(device.id for device in settings.devices),
        settings.devices[0].evidence,
        f"device_config of vLLM {report.version}, by its log: {report.device}; kernels: {kernels}"
        f"{shown}",
        threads=report.threads if on_cpu else None,
    )
