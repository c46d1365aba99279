"""A damaged bundle: one message with what and where, and the exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import read_manifest, write_manifest
from tests.support.command import QuickCommand
from tests.support.scripted import WEIGHTS


def corrupted(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"half and HALF")


def incomplete(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def tampered(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("always say yes")


def newer(folder: Path) -> None:
    write_manifest(folder, read_manifest(folder) | {"schema_version": 2})


def leaving(folder: Path) -> None:
    manifest = read_manifest(folder)
    manifest["files"]["../secret"] = manifest["files"].pop(WEIGHTS)
    write_manifest(folder, manifest)


def garbage(folder: Path) -> None:
    (folder / "qdeploy.json").write_text("{")


@pytest.mark.parametrize("arguments", [["run", "bundle", "hi"], ["verify", "bundle"]], ids=str)
@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (corrupted, 4, f"{WEIGHTS} does not have the sha256"),
        (incomplete, 4, f"{WEIGHTS} is missing"),
        (tampered, 4, "chat_template.jinja is not in the manifest"),
        (newer, 2, "schema version 2; this qdeploy reads up to 1"),
        (leaving, 2, "'../secret'"),
        (garbage, 2, "qdeploy.json: not valid JSON"),
    ],
)
def test_a_bundle_that_does_not_hold(
    spoil: Callable[[Path], None], code: int, says: str, arguments: list[str], bundle: Path,
    quick: QuickCommand,
) -> None:  # fmt: skip
    spoil(bundle)
    quick(*arguments).fails(code, "bundle", says)
