"""The folder in which a provider caches compiled graphs, so that the next load is faster."""

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
"""Options that name the provider's cache folder."""


def with_cache(
    settings: Settings, root: Path | None, *, bundle: str, versions: Sequence[str]
) -> Settings:
    """Return *settings* with the cache folder of this compilation, created if missing.

    Providers name their files by part of their inputs only: MIGraphX uses the graph's shape, though
    they hold the weights. A folder that the user set is kept.

    Args:
        settings: their properties decide the compilation.
        root: the user's cache folder; None caches nothing.
        bundle: the bundle's digest.
        versions: versions of the runtime and the provider.
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
    """Return a digest of all inputs of the compilation, 32 hex digits."""
    device, made = settings.device, [dict(settings.provider_options), dict(settings.session)]
    deciding = [bundle, settings.provider.name, made, device.name, device.driver, *versions]
    return data_sha256(*deciding)[:32]


def _option(settings: Settings, folder: Path) -> dict[str, str]:
    """Return the option that names the folder, if there is one that the user did not set."""
    provider, options = settings.provider, settings.options
    if provider.plugin and (device := provider.plugin.metadata.get("ov_device")):
        return _openvino_option(device, options.get("load_config", "{}"), folder)
    name = FOLDER_OPTIONS.get(provider.name)
    return {name: str(folder)} if name and name not in options else {}


def _openvino_option(device: str, load_config: str, folder: Path) -> dict[str, str]:
    """Return OpenVINO's properties with CACHE_DIR, unless the user set a file or a CACHE_DIR."""
    try:
        properties = json.loads(load_config)
    except ValueError:
        return {}
    of_device = {"CACHE_DIR": str(folder), **properties.get(device, {})}
    return {"load_config": json.dumps({**properties, device: of_device})}
