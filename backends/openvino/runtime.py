"""Imports the runtime on demand, and without its telemetry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from qdeploy.errors import GenerationFailed, TargetUnavailable
from qdeploy.targets import CPU

PACKAGES = ("openvino", "openvino_genai", "openvino_tokenizers")
INSTALL = f"pip install 'qdeploy[{CPU.extras['openvino']}]'"
TELEMETRY = "openvino_telemetry"


class Runtime(NamedTuple):
    """The imported modules `openvino` and `openvino_genai`; neither ships usable types."""

    ov: Any
    genai: Any


def load() -> Runtime:
    """Import the runtime, or return it if that was done before.

    Raises:
        TargetUnavailable: a package is not installed.
        GenerationFailed: a package is installed but broken.
    """
    require_installed()
    try:
        with _without_telemetry():
            return Runtime(import_module("openvino"), import_module("openvino_genai"))
    except ImportError as error:
        raise GenerationFailed(
            f"OpenVINO is installed but cannot be imported ({error})",
            fix=f"{INSTALL} --force-reinstall, so that its three packages match",
        ) from error


def missing_packages() -> list[str]:
    """Return the distributions that are not installed. Imports none."""
    return [name.replace("_", "-") for name in PACKAGES if find_spec(name) is None]


def require_installed() -> None:
    """Check, without importing any, that all packages are installed.

    Raises:
        TargetUnavailable: some are not.
    """
    if missing := missing_packages():
        verb = "is" if len(missing) == 1 else "are"
        raise TargetUnavailable(f"{', '.join(missing)} {verb} not installed", INSTALL)


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Let `import openvino` find no telemetry package, for which it brings a stub.

    With the package, the import itself reports to Google Analytics from a forked process and
    writes a client id below the home folder, unless the user opted out by hand (2026.4.1).
    """
    hidden = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == TELEMETRY}
    for name in hidden:
        del sys.modules[name]
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # the import system's own way
    try:
        yield
    finally:
        del sys.modules[TELEMETRY]
        sys.modules.update(hidden)
