"""Importing ONNX Runtime, its plugins and onnxruntime-genai: only when they are needed, and without
their telemetry.
"""

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

INSTALL = "pip install 'qdeploy[onnx]'"
BEFORE = {"ORT_DISABLE_TELEMETRY": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Environment variables that are read once. The call that ends telemetry comes after its first
report; and CUDA, left to itself, numbers by speed and not as `nvidia-smi` lists."""
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


def versions(provider: Provider) -> list[str]:
    """Of ONNX Runtime, and of the provider's package where that is installed by its own name."""
    found = [str(load().__version__)]
    with suppress(metadata.PackageNotFoundError):
        found.append(metadata.version(provider.package))
    return found


def is_installed() -> bool:
    """Return whether ONNX Runtime is installed, in any of its builds. Imports nothing."""
    return find_spec("onnxruntime") is not None


def require() -> None:
    """Check, without importing it, that ONNX Runtime is there.

    Raises:
        TargetUnavailable: it is not.
    """
    if not is_installed():
        raise TargetUnavailable("onnxruntime is not installed", INSTALL)


def provider_library(provider: Provider) -> Path:
    """Where the library of a provider that is part of ONNX Runtime would be."""
    spec = find_spec("onnxruntime")
    folder = next(iter((spec and spec.submodule_search_locations) or ["."]))
    windows = sys.platform == "win32"
    name = f"{provider.library}.dll" if windows else f"lib{provider.library}.so"
    return Path(folder) / "capi" / name


def load_provider(provider: Provider) -> None:
    """Load that library, which needs the vendor's own.

    Raises:
        TargetUnavailable: one is missing; the loader's words say which.
    """
    ort = load()
    prepare(ort, provider)
    try:
        ctypes.CDLL(str(provider_library(provider)))
    except OSError as error:
        fix = provider.driver.fix if provider.driver else f"pip install {provider.package}"
        raise TargetUnavailable(f"{provider.name} does not load: {error}", fix) from None


def prepare(ort: Any, provider: Provider) -> None:
    """Do what must come before the first session on a provider.

    Raises:
        TargetUnavailable: a plugin's library would not find another, and end the process.
    """
    if provider.memory.kind == "cuda":
        ort.preload_dlls()  # CUDA's libraries, from the packages of pip if they are there
    if provider.plugin and provider.plugin.opens and sys.platform.startswith("linux"):
        _require_on_path(provider.plugin.opens, plugin_library(provider), provider)


def _require_on_path(name: str, library: str, provider: Provider) -> None:
    """Check that the loader finds a library by its bare name.

    The loader reads its path when a process starts: what a package adds later is for children.
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
    """Path of a provider's own library. Its package is imported, the library not loaded.

    Raises:
        TargetUnavailable: the package is not installed, or the library not in it.
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
    """The devices (OrtEpDevice) that a provider's own library offers for its target.

    Raises:
        TargetUnavailable: the library is not there, or is for another version of ONNX Runtime.
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
    """Once a process: a second time is an error."""
    load().register_execution_provider_library(name, library)


@cache
def register_with_genai(name: str, library: str) -> None:
    """Tell onnxruntime-genai of a provider's library: it has a table of its own for these."""
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
