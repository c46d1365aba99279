"""Importing ONNX Runtime, its plugins and onnxruntime-genai: only when they are needed."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from qdeploy.backends.onnxruntime.providers import Plugin, Provider
from qdeploy.errors import GenerationFailed, TargetUnavailable

INSTALL = "pip install 'qdeploy[onnx]'"
FATAL_ONLY = 4
"""ONNX Runtime's severity. What it has to say comes as an exception; its log would be stderr's."""


def load() -> Any:
    """The module `onnxruntime`, which ships no types.

    Raises:
        TargetUnavailable: it is not installed.
        GenerationFailed: it is installed but broken.
    """
    ort = _import("onnxruntime", INSTALL)
    ort.set_default_logger_severity(FATAL_ONLY)
    return ort


def load_genai() -> Any:
    """The module `onnxruntime_genai`; raises as `load`."""
    return _import("onnxruntime_genai", INSTALL)


def plugin_devices(provider: Provider) -> list[Any]:
    """The devices (OrtEpDevice) that a provider's own library offers for its target.

    Raises:
        TargetUnavailable: the library is not installed.
        GenerationFailed: it does not load, for instance into another version of ONNX Runtime.
    """
    assert provider.plugin  # noqa: S101  (the caller has seen that there is one)
    ort = load()
    module = _import(provider.plugin.module, f"pip install {provider.package}")
    library = module.get_library_path()
    if not os.path.isfile(library):
        raise GenerationFailed(
            f"the provider's library is missing: {library}",
            where=provider.name,
            fix=f"pip install --force-reinstall {provider.package}",
        )
    try:
        _register(provider.name, library)
    except Exception as error:  # the binding's own types
        raise GenerationFailed(
            f"the provider's library does not load into onnxruntime {ort.__version__} ({error})",
            where=provider.name,
            fix=f"pip install --upgrade onnxruntime {provider.package}",
        ) from error
    return [d for d in ort.get_ep_devices() if _is_one(d, provider.name, provider.plugin)]


def _is_one(device: Any, name: str, plugin: Plugin) -> bool:
    metadata = dict(device.ep_metadata)
    return device.ep_name == name and all(
        metadata.get(key) == value for key, value in plugin.metadata.items()
    )


@cache
def _register(name: str, library: str) -> None:
    """Once a process: a second time is an error."""
    load().register_execution_provider_library(name, library)


def _import(module: str, fix: str) -> Any:
    if find_spec(module) is None:
        raise TargetUnavailable(f"{module.replace('_', '-')} is not installed", fix)
    try:
        return import_module(module)
    except ImportError as error:
        raise GenerationFailed(
            f"{module} is installed but cannot be imported ({error})",
            fix=f"{fix} --force-reinstall",
        ) from error
