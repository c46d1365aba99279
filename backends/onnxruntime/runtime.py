"""Imports ONNX Runtime, its plugins and onnxruntime-genai on demand, without their telemetry."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qdeploy.backends.onnxruntime.errors import essence, is_the_runtimes
from qdeploy.backends.onnxruntime.providers import Plugin, Provider
from qdeploy.errors import GenerationFailed, TargetUnavailable
from qdeploy.targets import CPU

INSTALL = f"pip install 'qdeploy[{CPU.extras['onnxruntime']}]'"
BEFORE = {"ORT_DISABLE_TELEMETRY": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Environment variables that the runtimes read once. The call that disables telemetry comes after
the first report. By default CUDA numbers GPUs by speed, and `nvidia-smi` by PCI bus."""
FATAL_ONLY = 4
"""Log severity of ONNX Runtime. Errors arrive as exceptions; the log would go to stderr."""


def load() -> Any:
    """Import and return `onnxruntime`, which has no type information.

    Raises:
        TargetUnavailable: it is not installed.
        GenerationFailed: it is installed but broken.
    """
    ort = _import("onnxruntime", INSTALL)
    ort.set_default_logger_severity(FATAL_ONLY)
    return ort


def load_genai() -> Any:
    """Import and return `onnxruntime_genai`. Raises like `load`."""
    return _import("onnxruntime_genai", INSTALL)


def versions(provider: Provider) -> list[str]:
    """Return the versions of ONNX Runtime and, if it is a separate package, of the provider."""
    found = [str(load().__version__)]
    with suppress(metadata.PackageNotFoundError):
        found.append(metadata.version(provider.package))
    return found


def is_installed() -> bool:
    """Return whether ONNX Runtime is installed, in any of its builds. Imports nothing."""
    return find_spec("onnxruntime") is not None


def require() -> None:
    """Check that ONNX Runtime is installed, without importing it.

    Raises:
        TargetUnavailable: it is not installed.
    """
    if not is_installed():
        raise TargetUnavailable("onnxruntime is not installed", INSTALL)


def provider_library(provider: Provider) -> Path:
    """Return the path of the library of a provider that is part of ONNX Runtime."""
    spec = find_spec("onnxruntime")
    folder = next(iter((spec and spec.submodule_search_locations) or ["."]))
    windows = sys.platform == "win32"
    name = f"{provider.library}.dll" if windows else f"lib{provider.library}.so"
    return Path(folder) / "capi" / name


def load_provider(provider: Provider) -> None:
    """Load the provider's library, which depends on the vendor's libraries.

    Raises:
        TargetUnavailable: a library is missing; the loader's message names it.
    """
    ort = load()
    prepare(ort, provider)
    try:
        ctypes.CDLL(str(provider_library(provider)))
    except OSError as error:
        fix = provider.driver.fix if provider.driver else f"pip install {provider.package}"
        raise TargetUnavailable(f"{provider.name} does not load: {error}", fix) from None


def prepare(ort: Any, provider: Provider) -> None:
    """Prepare the process for the first session on a provider.

    Raises:
        TargetUnavailable: a plugin would not find its library, and would end the process.
    """
    if provider.memory.kind == "cuda":
        ort.preload_dlls()  # CUDA's libraries, from pip packages if installed
    if provider.plugin and provider.plugin.opens and sys.platform.startswith("linux"):
        _require_on_path(provider.plugin.opens, plugin_library(provider), provider)


def _require_on_path(name: str, library: str, provider: Provider) -> None:
    """Check that the loader finds a library by its bare name.

    The loader reads its path when a process starts, so a later change affects only
    processes that it starts.
    """
    try:
        ctypes.CDLL(name)
    except OSError:
        folder = os.path.dirname(library)
        raise TargetUnavailable(
            f"{provider.name} needs {name}, which the loader does not find by this name",
            f"before the start: export LD_LIBRARY_PATH={folder}:$LD_LIBRARY_PATH",
        ) from None


def plugin_library(provider: Provider) -> str:
    """Return the path of a plugin's library. The package is imported, the library is not loaded.

    Raises:
        TargetUnavailable: the package is not installed, or lacks the library.
    """
    assert provider.plugin  # noqa: S101
    fix = f"pip install --force-reinstall {provider.package}"
    module = _import(provider.plugin.module, f"pip install {provider.package}")
    try:
        library = str(module.get_library_path())
    except (RuntimeError, FileNotFoundError) as error:  # how they say that it is not there
        raise TargetUnavailable(f"{provider.package} has no library: {error}", fix) from None
    if not os.path.isfile(library):
        raise TargetUnavailable(f"the library of {provider.package} is missing: {library}", fix)
    return library


def plugin_devices(provider: Provider) -> list[Any]:
    """Return the devices (OrtEpDevice) of a plugin for its target.

    Raises:
        TargetUnavailable: the library is missing, or is for another version of ONNX Runtime.
    """
    assert provider.plugin  # noqa: S101
    ort = load()
    library = plugin_library(provider)
    try:
        _register(provider.name, library)
    except Exception as error:
        if not is_the_runtimes(error):
            raise
        raise TargetUnavailable(
            f"onnxruntime {ort.__version__} does not take the library of {provider.package}: "
            f"{essence(error)}",
            f"pip install --upgrade onnxruntime {provider.package}, so that they match",
        ) from error
    return [d for d in ort.get_ep_devices() if _is_one(d, provider.name, provider.plugin)]


def _is_one(device: Any, name: str, plugin: Plugin) -> bool:
    metadata = dict(device.ep_metadata)
    return device.ep_name == name and all(
        metadata.get(key, "").partition(".")[0] == value  # of several, one is `GPU.1`
        for key, value in plugin.metadata.items()
    )


@cache
def _register(name: str, library: str) -> None:
    """Register a library once a process; a second registration is an error."""
    load().register_execution_provider_library(name, library)


@cache
def register_with_genai(name: str, library: str) -> None:
    """Register a provider's library with onnxruntime-genai, which keeps its own table."""
    load_genai().register_execution_provider_library(name, library)


def _import(module: str, fix: str) -> Any:
    if find_spec(module) is None:
        raise TargetUnavailable(f"{module.replace('_', '-')} is not installed", fix)
    for name, value in BEFORE.items():
        os.environ.setdefault(name, value)
    try:
        return import_module(module)
    except ImportError as error:
        raise GenerationFailed(
            f"{module} is installed but cannot be imported ({error})",
            fix=f"{fix} --force-reinstall",
        ) from error
