"""A bundle opens only if it is complete, unchanged, of a known schema, and in one directory."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdeploy.bundle import HASH_ON_OPEN_BYTES, MANIFEST, SCHEMA, Bundle, describe_files, open_bundle
from qdeploy.errors import BundleError, CheckFailed
from tests.support.bundles import read_manifest, scripted_bundle, write_manifest
from tests.support.scripted import WEIGHTS

needs_symlinks = pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return scripted_bundle(tmp_path_factory.mktemp("bundle") / "pristine")


@pytest.fixture
def made(pristine: Bundle, tmp_path: Path) -> Path:
    """Directory of a bundle that a test may change."""
    return Path(shutil.copytree(pristine.path, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = read_manifest(folder)
    change(manifest)
    write_manifest(folder, manifest)


def test_the_opened_bundle_equals_the_exported_one(pristine: Bundle) -> None:
    again = open_bundle(pristine.path, full=True)
    assert again == pristine
    assert again.digest == pristine.digest
    assert again.nbytes == sum(
        f.stat().st_size for f in pristine.path.iterdir() if f.name not in (MANIFEST, "README.md")
    )


def test_equal_input_gives_equal_bytes(pristine: Bundle, tmp_path: Path) -> None:
    twin = scripted_bundle(tmp_path / "elsewhere")
    assert (twin.path / MANIFEST).read_bytes() == (pristine.path / MANIFEST).read_bytes()


def test_a_copied_bundle_has_the_same_digest(made: Path, pristine: Bundle) -> None:
    assert open_bundle(made, full=True).digest == pristine.digest


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "config.json"])
def test_one_changed_byte_is_found(name: str, made: Path) -> None:
    content = bytearray((made / name).read_bytes())
    content[len(content) // 2] ^= 1
    (made / name).write_bytes(content)
    with pytest.raises(CheckFailed, match=f"corrupted bundle: {name} does not have the sha256"):
        open_bundle(made)


def test_a_file_cut_short_is_found(made: Path) -> None:
    (made / WEIGHTS).write_bytes(b"half")
    with pytest.raises(CheckFailed, match=f"corrupted bundle: {WEIGHTS} has 4 bytes, not 13"):
        open_bundle(made)


def test_a_missing_file_is_found(made: Path) -> None:
    (made / WEIGHTS).unlink()
    with pytest.raises(CheckFailed, match=f"incomplete bundle: {WEIGHTS} is missing"):
        open_bundle(made)


def test_a_file_that_the_manifest_does_not_list_is_found(made: Path) -> None:
    """An added chat template would change every answer."""
    (made / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(CheckFailed, match=r"chat_template.jinja is not in the manifest"):
        open_bundle(made)


@needs_symlinks
def test_a_linked_folder_that_the_manifest_does_not_list_is_found(made: Path) -> None:
    (made / "evil").symlink_to(made.parent)
    with pytest.raises(CheckFailed, match="evil is not in the manifest"):
        open_bundle(made)


def test_hidden_files_of_the_system_are_ignored(made: Path) -> None:
    (made / ".DS_Store").write_bytes(b"")
    open_bundle(made, full=True)


def test_large_files_are_hashed_on_demand_only(made: Path) -> None:
    """Opening hashes small files only, so that it is fast; `verify` hashes every file."""
    size = HASH_ON_OPEN_BYTES + 1
    with (made / WEIGHTS).open("wb") as file:
        file.truncate(size)
    edit(made, lambda m: m["files"][WEIGHTS].update(size=size))
    assert open_bundle(made).nbytes > size
    with pytest.raises(CheckFailed, match="does not have the sha256"):
        open_bundle(made, full=True)


@pytest.mark.parametrize("version", [SCHEMA + 1, 99, 10**30])
def test_a_newer_schema_is_refused_with_a_fix(version: int, made: Path) -> None:
    write_manifest(made, {"schema_version": version, "unheard": "of"})
    with pytest.raises(BundleError, match=f"schema version {version}; this qdeploy reads up to"):
        open_bundle(made)


@pytest.mark.parametrize("version", [0, -1, "1", "2", 1.5, None, [1]], ids=repr)
def test_an_invalid_schema_version_is_refused(version: object, made: Path) -> None:
    edit(made, lambda m: m.update(schema_version=version))
    with pytest.raises(BundleError, match="not a manifest: schema_version"):
        open_bundle(made)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(extra=1), "not a manifest: extra"),
        (lambda m: m["model"].update(extra=1), "not a manifest: model.extra"),
        (lambda m: m["profile"].update(extra=1), "not a manifest: profile.extra"),
        (lambda m: m.pop("files"), "not a manifest: files"),
        (lambda m: m["files"][WEIGHTS].update(sha256="00"), f"files.{WEIGHTS}.sha256"),
        (lambda m: m["files"][WEIGHTS].update(size=-1), f"files.{WEIGHTS}.size"),
        (lambda m: m["model"].pop("digest"), "not a manifest: model.digest"),
    ],
    ids="extra model profile files sha256 size digest".split(),
)
def test_an_invalid_manifest_is_refused_with_the_key(
    change: Callable[[dict[str, Any]], object], says: str, made: Path
) -> None:
    edit(made, change)
    with pytest.raises(BundleError) as caught:
        open_bundle(made)
    assert says in caught.value.what
    assert caught.value.where == str(made / MANIFEST)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\x00", b"null", b"{}", b'{"\\ud800": 1}']
)
def test_a_malformed_manifest_is_refused(content: bytes, made: Path) -> None:
    (made / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError) as caught:
        open_bundle(made)
    assert caught.value.where == str(made / MANIFEST)


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "sub/../../secret",
        "..",
        ".",
        "",
        "a\\..\\..\\secret",
        "C:secret",
        "C:\\secret",
        "\\\\host\\share",
        "file:stream",
        "a\0b",
    ],
    ids=lambda name: repr(name)[:20],
)
def test_a_name_cannot_leave_the_folder(name: str, made: Path) -> None:
    (made.parent / "secret").write_bytes(b"")
    edit(made, lambda m: m["files"].update({name: m["files"].pop(WEIGHTS)}))
    with pytest.raises(BundleError, match="is not the path of a file in the bundle's folder"):
        open_bundle(made)


def test_a_name_that_no_file_can_have_is_a_missing_file(made: Path) -> None:
    edit(made, lambda m: m["files"].update({"n" * 5000: m["files"].pop(WEIGHTS)}))
    with pytest.raises(CheckFailed, match="incomplete bundle"):
        open_bundle(made)


@needs_symlinks
@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_cannot_leave_the_folder(linked: str, made: Path) -> None:
    outside = made.parent / "outside"
    outside.mkdir()
    shutil.move(made / WEIGHTS, outside / WEIGHTS)
    if linked == "file":
        (made / WEIGHTS).symlink_to(outside / WEIGHTS)
    else:
        (made / "sub").symlink_to(outside)
        edit(made, lambda m: m["files"].update({f"sub/{WEIGHTS}": m["files"].pop(WEIGHTS)}))
    with pytest.raises(BundleError, match="is a link that leaves the bundle's folder"):
        open_bundle(made)


@needs_symlinks
def test_a_link_to_itself_is_a_missing_file(made: Path) -> None:
    (made / WEIGHTS).unlink()
    (made / WEIGHTS).symlink_to(WEIGHTS)
    with pytest.raises(CheckFailed, match="incomplete bundle"):
        open_bundle(made)


@needs_symlinks
def test_a_bundle_opens_through_a_symlink(made: Path) -> None:
    link = made.with_name("link")
    link.symlink_to(made)
    assert open_bundle(link, full=True).path == link


def test_a_folder_without_a_manifest_is_no_bundle(made: Path) -> None:
    (made / MANIFEST).unlink()
    with pytest.raises(BundleError, match=f"no {MANIFEST} in it, so not a bundle"):
        open_bundle(made)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle directory"):
        open_bundle(tmp_path / "nowhere")


def test_a_directory_without_permission_is_named(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(BundleError, match=r"cannot be read \(Permission denied") as caught:
        open_bundle(made)
    assert caught.value.where == str(made)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_in_place_of_a_file_does_not_block(made: Path) -> None:
    (made / WEIGHTS).unlink()
    os.mkfifo(made / WEIGHTS)
    with pytest.raises(CheckFailed, match="incomplete bundle"):
        open_bundle(made)


def test_files_in_subfolders_are_listed_by_their_posix_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_bytes(b"c")
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / MANIFEST).write_bytes(b"{}")
    listed = describe_files(tmp_path)
    assert list(listed) == ["a.txt", "b/c.txt"]
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (listed["a.txt"].size, listed["a.txt"].sha256) == (0, empty)


class TestCalibration:
    def test_the_record_returns_from_the_manifest_and_is_in_the_digest(
        self, made: Path, pristine: Bundle
    ) -> None:
        record = {
            "method": "by hand", "tokens": 512, "seed": 1, "importance": "gradient",
            "texts": [{"name": "a.txt", "sha256": "0" * 64, "sequences": 2, "tokens": 512}],
            "losses": {"a.weight": 0.25, "b.weight": 0.75},
        }  # fmt: skip
        edit(made, lambda manifest: manifest.update(calibration=record))
        opened = open_bundle(made)
        assert opened.manifest.calibration is not None
        assert opened.manifest.calibration.model_dump() == record
        assert opened.manifest.calibration.loss == 0.5
        assert opened.digest != pristine.digest
        assert read_manifest(made)["calibration"] == record

    def test_a_manifest_of_before_is_written_as_it_was(self, made: Path, pristine: Bundle) -> None:
        assert "calibration" not in read_manifest(made)
        assert "calibration" not in read_manifest(made)["profile"]
        opened = open_bundle(made)
        assert opened.manifest.calibration is None
        assert opened.manifest.to_json() == (made / MANIFEST).read_text(encoding="utf-8")
        assert opened.digest == pristine.digest

    def test_a_record_that_says_more_than_is_known_is_refused(self, made: Path) -> None:
        edit(made, lambda manifest: manifest.update(calibration={"method": "x", "date": "now"}))
        with pytest.raises(BundleError, match="calibration"):
            open_bundle(made)
