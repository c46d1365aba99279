"""The cache: bundles that `qdeploy run MODEL` exported by itself, and what else is worth keeping.

<cache>/bundles/<model>-<profile>-<16 hex digits>/   a bundle, keyed by content
<cache>/references/<model>-<16 hex digits>/           what `eval` computed of a float checkpoint
<cache>/runtime/                                      what runtimes compiled
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs

from qdeploy.bundle import MANIFEST
from qdeploy.plan import Plan

ENVIRONMENT = "QDEPLOY_CACHE_DIR"


def root() -> Path:
    """The cache's folder: $QDEPLOY_CACHE_DIR, else the platform's place for caches."""
    chosen = os.environ.get(ENVIRONMENT)
    return Path(chosen) if chosen else platformdirs.user_cache_path("qdeploy", appauthor=False)


def runtime_dir() -> Path:
    """Where backends may keep compiled kernels and blobs."""
    return root() / "runtime"


def reference_path(model: str, *deciding: Any) -> Path:
    """Where evaluation keeps what it computed of a float checkpoint.

    The name holds a digest of *deciding*, plain data that the content depends on, and of qdeploy's
    version.
    """
    return _references() / f"{_plain(model)}-{_digest(*deciding)}"


def bundle_path(plan: Plan, exporter: str) -> Path:
    """Where the bundle of *plan* is or would be.

    The name holds a digest of all that decides the content: the checkpoint's bytes, the profile,
    the exporter, the context and qdeploy's version. A changed model of the same name is another
    bundle.
    """
    digest = _digest(plan.digest, plan.profile.model_dump_json(), exporter, plan.context)
    return root() / "bundles" / f"{_plain(plan.checkpoint.name)}-{plan.profile.name}-{digest}"


@dataclass(frozen=True)
class Entry:
    """One thing in the cache: its path and its size in bytes."""

    path: Path
    nbytes: int


def entries() -> list[Entry]:
    """Every bundle of the cache, by name, then every reference, then what runtimes compiled."""
    bundles = sorted(p.parent for p in (root() / "bundles").glob(f"[!.]*/{MANIFEST}"))
    references = sorted(p for p in _references().glob("[!.]*") if p.is_dir())
    runtimes = [runtime_dir()] if runtime_dir().is_dir() else []
    return [Entry(p, _size(p)) for p in [*bundles, *references, *runtimes]]


def clear(names: tuple[str, ...] = ()) -> list[Entry]:
    """Remove the named entries, or everything, and return what was removed."""
    removed = [e for e in entries() if not names or e.path.name in names]
    for entry in removed:
        shutil.rmtree(entry.path)
    if not names:
        for leftover in (root() / "bundles").glob(".*"):  # of exports that were killed
            shutil.rmtree(leftover, ignore_errors=True)
    return removed


def _references() -> Path:
    return root() / "references"


def _plain(model: str) -> str:
    """A model's name as part of a file's: hub ids have slashes."""
    return re.sub(r"[^\w.-]+", "--", model)


def _digest(*deciding: Any) -> str:
    key = json.dumps([*deciding, metadata.version("qdeploy")])
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
