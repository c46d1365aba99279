"""The cache: bundles of `qdeploy run MODEL`, references of `eval`, codes of calibration, kernels.

<cache>/bundles/<model>-<profile>-<16 hex digits>/   a bundle, keyed by content
<cache>/references/<model>-<16 hex digits>/           what `eval` computed from a float checkpoint
<cache>/calibrations/<name>/                          the codes that a calibration has found so far
<cache>/runtime/                                      kernels and blobs that runtimes compiled

The hidden working directories of killed runs count as entries; those of running ones do not, nor
do calibrations that are locked by the run that works on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from qdeploy.errors import QdeployError
from qdeploy.planning.plan import Plan
from qdeploy.storage import workdir
from qdeploy.storage.cache_root import ENVIRONMENT as ENVIRONMENT
from qdeploy.storage.cache_root import calibrations, plain
from qdeploy.storage.cache_root import root as root
from qdeploy.storage.hashing import data_sha256


def runtime_dir() -> Path:
    """Return the directory where backends keep compiled kernels and blobs."""
    return root() / "runtime"


def reference_path(model: str, *deciding: Any) -> Path:
    """Return where evaluation keeps its results of a float checkpoint.

    The name has a digest of qdeploy's version and of *deciding*, plain data that the results depend
    on.
    """
    return _references() / f"{plain(model)}-{_digest(*deciding)}"


def bundle_path(plan: Plan, exporter: str) -> Path:
    """Return where the bundle of *plan* is, or would be.

    The name has a digest of all that decides the content: the checkpoint's bytes, the profile, the
    exporter, the context, the task, the calibration and qdeploy's version. A model that changed
    under the same name is therefore another bundle.
    """
    profile, task = plan.profile.model_dump_json(), plan.task.model_dump_json()
    calibration = [plan.calibration.deciding()] if plan.calibration else []
    digest = _digest(plan.digest, profile, exporter, plan.context, task, *calibration)
    return _bundles() / f"{plain(plan.checkpoint.name)}-{plan.profile.name}-{digest}"


@dataclass(frozen=True)
class Entry:
    """A directory in the cache and its size in bytes."""

    path: Path
    nbytes: int


def entries() -> list[Entry]:
    """Return the bundles by name, then references, calibrations, kernels, stale work directories.

    Damaged bundles are among them.
    """
    runtimes = [runtime_dir()] if runtime_dir().is_dir() else []
    calibrated = [path for path in _inside(calibrations()) if not workdir.is_locked(path)]
    found = [*_inside(_bundles()), *_inside(_references()), *calibrated, *runtimes]
    places = (_bundles(), _references(), calibrations(), root())
    leftovers = [path for place in places for path in workdir.stale(place)]
    return [Entry(path, _size(path)) for path in [*found, *leftovers]]


def clear(names: tuple[str, ...] = ()) -> list[Entry]:
    """Remove the named entries, or everything, and return what was removed.

    Raises:
        QdeployError: an entry cannot be removed.
    """
    return [e for e in entries() if (not names or e.path.name in names) and _remove(e.path)]


def scratch(name: str) -> AbstractContextManager[Path]:
    """Return a context manager of an empty directory in the cache. Raises OSError."""
    return workdir.scratch(root() / name)


def _remove(path: Path) -> bool:
    try:
        workdir.remove(path)
    except BlockingIOError:  # a run took it after it was listed
        return False
    except OSError as error:
        raise QdeployError(
            f"it cannot be removed ({error.strerror})",
            where=path,
            fix="end the programs that use it, or remove the folder yourself",
        ) from None
    return True


def _inside(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("[!.]*")) if path.is_dir())


def _bundles() -> Path:
    return root() / "bundles"


def _references() -> Path:
    return root() / "references"


def _digest(*deciding: Any) -> str:
    return data_sha256(*deciding, metadata.version("qdeploy"))[:16]


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
