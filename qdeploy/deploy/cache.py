"""The cache: bundles that `qdeploy run MODEL` exported, references of `eval`, compiled kernels.

<cache>/bundles/<model>-<profile>-<16 hex digits>/   a bundle, keyed by content
<cache>/references/<model>-<16 hex digits>/           what `eval` computed from a float checkpoint
<cache>/runtime/                                      kernels and blobs that runtimes compiled

The hidden working directories of killed runs count as entries; those of running ones do not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs

from qdeploy.errors import QdeployError
from qdeploy.planning.plan import Plan
from qdeploy.storage import workdir
from qdeploy.storage.hashing import data_sha256

ENVIRONMENT = "QDEPLOY_CACHE_DIR"


def root() -> Path:
    """Return the cache's directory: $QDEPLOY_CACHE_DIR, else the platform's cache directory."""
    chosen = os.environ.get(ENVIRONMENT)
    return Path(chosen) if chosen else platformdirs.user_cache_path("qdeploy", appauthor=False)


def runtime_dir() -> Path:
    """Return the directory where backends keep compiled kernels and blobs."""
    return root() / "runtime"


def reference_path(model: str, *deciding: Any) -> Path:
    """Return where evaluation keeps its results of a float checkpoint.

    The name has a digest of qdeploy's version and of *deciding*, plain data that the results depend
    on.
    """
    return _references() / f"{_plain(model)}-{_digest(*deciding)}"


def bundle_path(plan: Plan, exporter: str) -> Path:
    """Return where the bundle of *plan* is, or would be.

    The name has a digest of all that decides the content: the checkpoint's bytes, the profile, the
    exporter, the context, the task and qdeploy's version. A model that changed under the same name
    is therefore another bundle.
    """
    profile, task = plan.profile.model_dump_json(), plan.task.model_dump_json()
    digest = _digest(plan.digest, profile, exporter, plan.context, task)
    return _bundles() / f"{_plain(plan.checkpoint.name)}-{plan.profile.name}-{digest}"


@dataclass(frozen=True)
class Entry:
    """A directory in the cache and its size in bytes."""

    path: Path
    nbytes: int


def entries() -> list[Entry]:
    """Return the bundles by name, then references, compiled kernels and stale working directories.

    Damaged bundles are among them.
    """
    runtimes = [runtime_dir()] if runtime_dir().is_dir() else []
    found = [*_inside(_bundles()), *_inside(_references()), *runtimes]
    places = (_bundles(), _references(), root())
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
    except BlockingIOError:  # a run resumed it after it was listed
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


def _plain(model: str) -> str:
    """Return a model's name as part of a file name: hub ids have slashes."""
    return re.sub(r"[^\w.-]+", "--", model)


def _digest(*deciding: Any) -> str:
    return data_sha256(*deciding, metadata.version("qdeploy"))[:16]


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
