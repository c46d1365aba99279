"""sha256 of plain data, of one file, and of many files on several threads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.system.threads import usable_threads

if TYPE_CHECKING:
    from typing_extensions import Self

PIECE_BYTES = 64 * 2**20
"""What one thread hashes at a time. Another size gives other identities."""
BUFFER_BYTES = 2**20


def data_sha256(*deciding: Any) -> str:
    """Return the sha256 (hex) of plain data."""
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file, as `sha256sum` prints it."""
    return _sha256(path, 0, path.stat().st_size).hexdigest()


class Identity:
    """sha256 over the names and bytes of files, independent of their location.

    One thread hashes only one or two gigabytes a second. So each file is cut into pieces of
    `PIECE_BYTES`, and the identity is the sha256 of every name and every piece's sha256.

    As a context manager, it hashes on its own threads while the caller does something else. The end
    of the context cancels the rest.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        """*files*: paths by name. No file is read yet."""
        self._files = dict(sorted(files.items()))
        self._pool: ThreadPoolExecutor | None = None
        self._pieces: dict[str, list[Future[bytes]]] = {}
        self._known: str | None = None

    def __enter__(self) -> Self:
        """Start to hash, unless the identity is known. OSError: a file cannot be read."""
        if self._known is None:
            sizes = {name: path.stat().st_size for name, path in self._files.items()}
            self._pool = ThreadPoolExecutor(usable_threads())
            self._pieces = {
                name: [
                    self._pool.submit(_piece, self._files[name], start, PIECE_BYTES)
                    for start in range(0, size, PIECE_BYTES)
                ]
                for name, size in sizes.items()
            }
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._pool, self._pieces = None, {}

    def hexdigest(self) -> str:
        """Hash the rest and return the identity (hex). OSError: a file cannot be read."""
        if self._known is None and self._pool is None:
            with self:
                return self.hexdigest()
        if self._known is None:
            total = hashlib.sha256()
            for name, pieces in self._pieces.items():
                total.update(f"{name}\0{len(pieces)}\n".encode())
                for piece in pieces:
                    total.update(piece.result())
            self._known = total.hexdigest()
        return self._known


def _piece(path: Path, start: int, length: int) -> bytes:
    return _sha256(path, start, length).digest()


def _sha256(path: Path, start: int, length: int) -> hashlib._Hash:
    """Return the sha256 of up to *length* bytes of a file, from *start* on."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(min(length, BUFFER_BYTES)))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while length and (count := file.readinto(buffer[: min(length, BUFFER_BYTES)])):
            digest.update(buffer[:count])
            length -= count
    return digest
