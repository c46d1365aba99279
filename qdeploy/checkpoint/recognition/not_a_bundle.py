"""A path that was given for a bundle and is none: what it is, and what to give."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from qdeploy import models
from qdeploy.checkpoint.hub_cache import hub_id_of, main_snapshot
from qdeploy.checkpoint.published.names import published_id
from qdeploy.checkpoint.recognition.recognize import BUNDLE, shell
from qdeploy.errors import BundleError

EXPORTED = ("openvino_model.xml", "model.onnx", "genai_config.json")
"""Files that bundles hold beside the manifest, and that other tools write as well."""
MOST = 3
"""Bundles that a fix lists."""


def why_not_a_bundle(path: Path) -> BundleError:
    """Return the error for a *path* without a manifest."""
    what, fix = _explain(path)
    return BundleError(what, where=path, fix=fix)


def _explain(path: Path) -> tuple[str, str]:
    name = path.as_posix()
    if not os.path.lexists(path):
        if name in models.EMBEDDED or published_id(name):
            return "a model, not a bundle", _export(name, path)
        return "no such bundle directory", _near(path)
    if not path.is_dir():
        if (path.parent / BUNDLE).is_file():
            return "a file of a bundle, not its directory", f"give {shell(path.parent)}"
        return "no such bundle directory: a file", f"give the directory that holds {BUNDLE}"
    snapshot = main_snapshot(path) if hub_id_of(path.name) else None
    if snapshot and (snapshot / BUNDLE).is_file():
        return (
            "the folder of a bundle in the hub's cache, not the bundle",
            f"give {shell(snapshot)}",
        )
    if below := _bundles(path):
        listed = ", ".join(shell(path / name) for name in below[:MOST])
        more = ", ..." if len(below) > MOST else ""
        return "not a bundle, but it holds some", f"give {listed}{more}"
    missing = f"no {BUNDLE} in it, so not a bundle"
    if any((path / file).is_file() for file in EXPORTED):
        return f"{missing} of qdeploy's", "qdeploy export MODEL --target cpu -o DIR, and give DIR"
    if (path / "config.json").is_file():
        return f"{missing} but a checkpoint", _export(name, path)
    return missing, "give the directory that qdeploy export wrote"


def _export(name: str, path: Path) -> str:
    new = f"{path.name}-bundle"
    return f"qdeploy export {shell(name)} --target cpu -o {shell(new)}, and give {shell(new)}"


def _near(path: Path) -> str:
    """Name the bundle beside *path* whose name is most like its own."""
    beside = _bundles(path.parent)
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.5)
    if near:
        return f"did you mean {os.fspath(path.parent / near[0])!r}?"
    return "give the directory that qdeploy export wrote"


def _bundles(folder: Path) -> list[str]:
    """Names of the bundles directly in a folder."""
    try:
        return sorted(e.name for e in os.scandir(folder) if (Path(e) / BUNDLE).is_file())
    except OSError:
        return []
