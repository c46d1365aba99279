"""The folder in which the plugin caches compiled models, so that the next load takes seconds."""

from __future__ import annotations

from pathlib import Path

from qdeploy.backends.openvino.settings import Settings
from qdeploy.storage.hashing import data_sha256
from qdeploy.targets import Evidence


def cache_folder(
    root: Path | None, settings: Settings, *, bundle: str, driver: str | None, runtime: str
) -> Path | None:
    """Return the cache folder of this compilation, or None if nothing is cached.

    The CPU plugin compiles as fast as it reads a blob back, so it caches nothing.

    Args:
        root: the user's cache folder; None keeps nothing.
        settings: their properties decide the compilation.
        bundle: the bundle's digest.
        driver: the device's driver version. A blob of one driver can crash another.
        runtime: OpenVINO's version.
    """
    on_cpu = settings.device == "CPU" or settings.evidence is Evidence.SIMULATED
    if root is None or on_cpu:
        return None
    plugin = sorted(settings.plugin.items())
    return root / "openvino" / data_sha256(bundle, settings.device, driver, runtime, plugin)[:32]
