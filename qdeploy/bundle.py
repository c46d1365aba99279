"""The bundle: an exported directory, described by its manifest `qdeploy.json`.

Opening a bundle reads the manifest and checks every file's presence and size, and the sha256 of
files up to 64 MiB; `verify` hashes all of them. A manifest may name files inside its folder only.
In the hub's cache those are links to the blobs of the same model.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from qdeploy.architectures.task import GENERATE, Task
from qdeploy.calibration.record import CalibrationRecord
from qdeploy.checkpoint.front_matter import CARD
from qdeploy.checkpoint.hub_cache import blobs_of
from qdeploy.checkpoint.recognition.not_a_bundle import why_not_a_bundle
from qdeploy.errors import BundleError, CheckFailed, OutputError
from qdeploy.planning.profile import Profile
from qdeploy.storage.hashing import file_sha256
from qdeploy.storage.json_file import UPGRADE, build_versioned, read_json
from qdeploy.storage.listing import visible
from qdeploy.storage.toml_file import Strict

MANIFEST = "qdeploy.json"
SCHEMA: Final = 1
HASH_ON_OPEN_BYTES = 64 * 2**20
"""Files up to this size are hashed whenever a bundle is opened: graphs, tokenizers."""


class FileEntry(Strict):
    """A file of the bundle: sha256 in hex, size in bytes."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class ModelIdentity(Strict):
    """Which model this is.

    Attributes:
        experts: number of experts a layer, 0 for a dense model.
        digest: hash of the checkpoint's sidecars and weights, see `hashing.Identity`.
        context_length: longest context, prompt and answer together, in tokens.
    """

    name: str
    architecture: str
    parameters: int
    experts: int
    vocab_size: int
    context_length: int
    digest: str


class Manifest(Strict):
    """`qdeploy.json`. It contains no time and no path, so equal bundles have equal bytes.

    Attributes:
        calibration: how codes were calibrated; None where weights were rounded alone.
    """

    schema_version: Literal[1]
    model: ModelIdentity
    task: Task = GENERATE
    target: str
    format: str
    exporter: str
    profile: Profile
    plan: dict[str, Any]
    tools: dict[str, str]
    calibration: CalibrationRecord | None = None
    files: dict[str, FileEntry]

    @model_serializer(mode="wrap")
    def _as_before_calibration(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the record out where there is none: digests of older bundles stay as they are."""
        dumped: dict[str, Any] = handler(self)
        return {k: v for k, v in dumped.items() if k != "calibration" or v is not None}

    def to_json(self) -> str:
        return self.model_dump_json(indent=1, by_alias=True) + "\n"


@dataclass(frozen=True)
class Bundle:
    """An exported directory whose manifest was read and whose files were checked."""

    path: Path
    manifest: Manifest

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the content: the manifest, which lists every file's hash."""
        return hashlib.sha256(self.manifest.to_json().encode()).hexdigest()

    @property
    def nbytes(self) -> int:
        return sum(f.size for f in self.manifest.files.values())


def is_bundle(path: Path) -> bool:
    return os.path.isfile(path / MANIFEST)  # also False for an invalid path


def open_bundle(path: Path, *, full: bool = False) -> Bundle:
    """Read the bundle at *path* and check its files; *full* hashes every file.

    Raises:
        BundleError: not a bundle, a newer schema, or names outside the folder.
        CheckFailed: a file is missing, truncated, changed or not listed.
    """
    try:
        found = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        found = False
    except OSError as error:
        raise BundleError(
            f"cannot be read ({error.strerror})", where=path, fix="check its path and permissions"
        ) from None
    if not found or not is_bundle(path):
        raise why_not_a_bundle(path)
    manifest = read_manifest(path / MANIFEST)
    for name, entry in manifest.files.items():
        _check(path, name, entry, full=full)
    # people edit the card, so no manifest lists it
    for name in sorted(visible(path) - {MANIFEST, CARD} - manifest.files.keys()):
        raise CheckFailed(
            f"tampered bundle: {name} is not in the manifest",
            where=path,
            fix=f"remove {name}, unless you know where it came from",
        )
    return Bundle(path, manifest)


def contents(path: Path) -> set[str]:
    """Names of the files that the manifest at *path* lists, in any schema version, and the card.

    Raises:
        OutputError: the manifest lists no files or cannot be read.
    """
    fix = "choose another -o DIR, or remove this one yourself"
    files = read_json(path / MANIFEST, error=OutputError, fix=fix).get("files")
    if not isinstance(files, dict):
        raise OutputError("not a manifest: it lists no files", where=path / MANIFEST, fix=fix)
    return {CARD, *files}


def read_manifest(file: Path) -> Manifest:
    """Read a manifest, whose names stay inside its folder.

    Raises:
        BundleError: it is malformed, of a newer schema, or has names outside the folder.
    """
    manifest = build_versioned(
        Manifest,
        read_json(file, error=BundleError),
        noun="manifest",
        where=file,
        error=BundleError,
        upgrade=f"{UPGRADE}, or export again with this version",
    )
    for name in manifest.files:
        if not _stays_inside(name):
            raise BundleError(
                f"{name!r} is not the path of a file in the bundle's folder",
                where=file,
                fix="do not use this bundle; get it from a source you trust",
            )
    return manifest


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in name
        and ":" not in name
        and name.isprintable()
    )


def _check(folder: Path, name: str, entry: FileEntry, *, full: bool) -> None:
    file = folder / name
    if not _is_inside(file, folder):
        raise BundleError(
            f"{name!r} is a link that leaves the bundle's folder",
            where=folder,
            fix=f"copy the files themselves if you trust them: cp -rL {folder} NEW, and give NEW",
        )
    try:
        wrong = _difference(file, name, entry, full=full)
    except OSError as error:
        wrong = f"incomplete bundle: {name} cannot be read ({error.strerror})"
    if wrong:
        fix = "export the bundle again, or copy it again from where it came"
        raise CheckFailed(wrong, where=folder, fix=fix)


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether a file is in the folder, or a blob of the folder where that is the hub's snapshot."""
    real = Path(os.path.realpath(file))
    return real.is_relative_to(os.path.realpath(folder)) or real.parent == blobs_of(folder)


def _difference(file: Path, name: str, entry: FileEntry, *, full: bool) -> str | None:
    """How a file differs from its entry, or None."""
    if not file.is_file():
        return f"incomplete bundle: {name} is missing"
    size = file.stat().st_size
    if size != entry.size:
        return f"corrupted bundle: {name} has {size} bytes, not {entry.size}"
    if (full or size <= HASH_ON_OPEN_BYTES) and file_sha256(file) != entry.sha256:
        return f"corrupted bundle: {name} does not have the sha256 of the manifest"
    return None


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Entries of all files below *folder* by POSIX path.

    The manifest, the card and hidden files are left out.
    """
    return {
        name: FileEntry(sha256=file_sha256(folder / name), size=(folder / name).stat().st_size)
        for name in sorted(visible(folder) - {MANIFEST, CARD})
    }
