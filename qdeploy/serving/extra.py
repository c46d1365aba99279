"""Whether the libraries of the server are installed; they are an extra of the package."""

from __future__ import annotations

from importlib.util import find_spec

from qdeploy.errors import TargetUnavailable

LIBRARIES = ("fastapi", "uvicorn", "prometheus_client")


def check_extra() -> None:
    """Check that the libraries are there, without importing them.

    Raises:
        TargetUnavailable: one of them is not.
    """
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise TargetUnavailable(
            f"the server needs {', '.join(missing)}", "pip install 'qdeploy[serve]'"
        )
