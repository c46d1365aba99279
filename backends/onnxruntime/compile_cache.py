"""Where a provider may keep what it compiled, so that the next load takes less."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qdeploy.backends.onnxruntime.providers import Provider
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.storage.hashing import data_sha256

FOLDER_OPTIONS = {
    "NvTensorRTRTXExecutionProvider": "nv_runtime_cache_path",
    "MIGraphXExecutionProvider": "migraphx_model_cache_dir",
}
"""Options that name a folder for what the provider compiles."""


def with_cache(
    settings: Settings, root: Path | None, *, bundle: str, versions: Sequence[str]
) -> Settings:
    """Return *settings* with a folder for this very compilation, made where it is missing.

    Providers name their files by less than what decides them: MIGraphX's hold the weights, and are
    named by the graph's shape. A setting of the user's own for it stays.

    Args:
        settings: what decides the compilation.
        root: the user's cache folder; None keeps nothing.
        bundle: the bundle's digest.
        versions: of what compiles.
    """
    if root is None:
        return settings
    folder = root / "onnxruntime" / _key(settings, bundle, versions)
    option = _option(settings.provider, folder)
    if not option:
        return settings
    folder.mkdir(parents=True, exist_ok=True)
    return replace(settings, options={**option, **settings.options})


def _key(settings: Settings, bundle: str, versions: Sequence[str]) -> str:
    """All that a compilation hangs on, in 32 hex digits."""
    device, made = settings.device, [dict(settings.provider_options), dict(settings.session)]
    deciding = [bundle, settings.provider.name, made, device.name, device.driver, *versions]
    return data_sha256(*deciding)[:32]


def _option(provider: Provider, folder: Path) -> dict[str, str]:
    """The option that names the folder, where the provider has one."""
    if provider.plugin and (device := provider.plugin.metadata.get("ov_device")):
        return {"load_config": json.dumps({device: {"CACHE_DIR": str(folder)}})}
    name = FOLDER_OPTIONS.get(provider.name)
    return {name: str(folder)} if name else {}
