"""sha256 of files, and identities of several."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.storage import hashing
from qdeploy.storage.hashing import Identity, file_sha256

PIECE, BUFFER = 64, 16


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    """Use pieces so small that files of a few bytes have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "PIECE_BYTES", PIECE)
        patch.setattr(hashing, "BUFFER_BYTES", BUFFER)
        yield


def slow(files: Mapping[str, bytes]) -> str:
    """Return the identity by its definition."""
    text = b""
    for name, content in sorted(files.items()):
        pieces = [content[i : i + PIECE] for i in range(0, len(content), PIECE)]
        text += f"{name}\0{len(pieces)}\n".encode()
        text += b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return hashlib.sha256(text).hexdigest()


def write(folder: Path, files: Mapping[str, bytes]) -> dict[str, Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


@given(st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=3 * PIECE)))
def test_an_identity_is_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    paths = write(tmp_path_factory.mktemp("files"), files)
    backwards = dict(reversed(paths.items()))
    assert Identity(backwards).hexdigest() == slow(files)
    for name, path in paths.items():
        assert file_sha256(path) == hashlib.sha256(files[name]).hexdigest()


def test_nothing_is_read_twice(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a": b"1" * 1000})
    identity = Identity(paths)
    known = identity.hexdigest()
    paths["a"].unlink()
    with identity:
        assert identity.hexdigest() == known


def test_the_context_hashes_in_the_background_and_leaves_no_thread(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a": b"1" * 1000})
    before = threading.active_count()
    with Identity(paths) as identity:
        assert identity.hexdigest() == slow({"a": b"1" * 1000})
    assert threading.active_count() == before


def test_an_end_before_the_end_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[int] = []
    here = threading.Event()

    def piece(path: Path, start: int, length: int) -> bytes:
        began.append(start)
        here.wait(10)
        return b""

    monkeypatch.setattr(hashing, "_piece", piece)
    identity = Identity(write(tmp_path, {"a": b"1" * 100 * PIECE}))
    threading.Timer(0.1, here.set).start()
    with pytest.raises(KeyboardInterrupt), identity:
        raise KeyboardInterrupt
    assert len(began) < 100
    monkeypatch.undo()
    monkeypatch.setattr(hashing, "PIECE_BYTES", PIECE)
    assert identity.hexdigest() == slow({"a": b"1" * 100 * PIECE})


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Identity({"a": tmp_path / "a"}):
        pass
