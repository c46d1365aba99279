"""Where a provider may keep what it compiled, so that the next load takes less."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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
    option = _option(settings, folder)
    if not option:
        return settings
    folder.mkdir(parents=True, exist_ok=True)
    return replace(settings, options={**settings.options, **option})


def _key(settings: Settings, bundle: str, versions: Sequence[str]) -> str:
    """All that a compilation hangs on, in 32 hex digits."""
    device, made = settings.device, [dict(settings.provider_options), dict(settings.session)]
    deciding = [bundle, settings.provider.name, made, device.name, device.driver, *versions]
    return data_sha256(*deciding)[:32]


def _option(settings: Settings, folder: Path) -> dict[str, str]:
    """The option that names the folder, where the provider has one and the user did not set it."""
    provider, options = settings.provider, settings.options
    if provider.plugin and (device := provider.plugin.metadata.get("ov_device")):
        return _openvino_option(device, options.get("load_config", "{}"), folder)
    name = FOLDER_OPTIONS.get(provider.name)
    return {name: str(folder)} if name and name not in options else {}


def _openvino_option(device: str, load_config: str, folder: Path) -> dict[str, str]:
    """OpenVINO's properties with CACHE_DIR; a file, or another CACHE_DIR, is the user's own."""
    try:
        properties = json.loads(load_config)
    except ValueError:
        return {}
    of_device = {"CACHE_DIR": str(folder), **properties.get(device, {})}
    return {"load_config": json.dumps({**properties, device: of_device})}
