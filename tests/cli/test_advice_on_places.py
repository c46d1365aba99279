"""Places that cannot be read or written, and names of files: the fix is followed and works."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.bundles import profile_text
from tests.support.command import QuickCommand

PLAN = ("plan", "model", "--target", "scripted")


@pytest.mark.usefixtures("model")
class TestProfile:
    def test_of_a_file_without_its_ending(self, scripted_toml: Path, quick: QuickCommand) -> None:
        refused = quick(*PLAN, "--profile", scripted_toml.stem)
        refused.fails(2, "unknown profile 'scripted'", "fix: for the file, scripted.toml")
        assert quick(*PLAN, "--profile", refused.stderr.split()[-1]).code == 0

    def test_of_a_file_that_is_misspelt(self, scripted_toml: Path, quick: QuickCommand) -> None:
        assert scripted_toml.is_file()
        refused = quick(*PLAN, "--profile", "scriptd.toml")
        match = re.search(r"did you mean '(.*)'\?", refused.stderr)
        assert match, refused.stderr
        assert quick(*PLAN, "--profile", match[1]).code == 0


class TestCache:
    """`run MODEL` exports to a place that the user did not choose."""

    @pytest.fixture(autouse=True)
    def _runnable(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = profile_text(answer="4")

        def only(*_: object) -> object:
            from qdeploy.planning.profile import parse_profile

            return parse_profile(text, "scripted", where="a test")

        monkeypatch.setattr("qdeploy.deploy.export.default_profile", only)
        assert model.is_dir()

    def test_that_cannot_be_written(self, here: Path, quick: QuickCommand) -> None:
        (here / "file").write_text("")
        command = ("run", "model", "hi", "--target", "scripted")
        refused = quick(*command, QDEPLOY_CACHE_DIR=str(here / "file"))
        refused.fails(2, "cannot be written", "fix: set QDEPLOY_CACHE_DIR to a folder")
        assert "-o DIR" not in refused.stderr
        done = quick(*command, QDEPLOY_CACHE_DIR=str(here / "elsewhere"))
        assert done.code == 0, done.stderr


class TestBundle:
    def test_of_links_that_lead_out_is_copied_with_their_files(
        self, bundle: Path, here: Path, quick: QuickCommand
    ) -> None:
        elsewhere = here / "elsewhere"
        elsewhere.mkdir()
        for file in bundle.iterdir():
            file.rename(elsewhere / file.name)
            if file.name != "qdeploy.json":
                file.symlink_to(elsewhere / file.name)
            else:
                shutil.copyfile(elsewhere / file.name, file)
        refused = quick("run", "bundle", "hi")
        refused.fails(2, "is a link that leaves the bundle's folder", "cp -rL bundle NEW")
        shutil.copytree(bundle, here / "NEW", symlinks=False)  # as cp -rL does
        assert quick("run", "NEW", "hi").code == 0

    @pytest.mark.usefixtures("bundle")
    def test_for_a_target_that_it_cannot_run_on(self, quick: QuickCommand) -> None:
        refused = quick("run", "bundle", "hi", "--target", "cuda")
        refused.fails(2, "export the model for it: qdeploy export MODEL --target cuda")
        refused.fails(2, "this bundle runs on", "scripted")
        assert quick("run", "bundle", "hi", "--target", "scripted").code == 0

    @pytest.mark.usefixtures("bundle")
    def test_for_a_backend_that_does_not_run_it(self, quick: QuickCommand) -> None:
        refused = quick("run", "bundle", "hi", "--backend", "openvino")
        match = re.search(r"fix: (--backend) (\w+)", refused.stderr)
        assert match, refused.stderr
        assert quick("run", "bundle", "hi", match[1], match[2]).code == 0


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="root reads anything; Windows has no modes"
)
def test_a_file_without_permission(model: Path, quick: QuickCommand) -> None:
    weights = model / "model.safetensors"
    weights.chmod(0)
    quick("plan", "model").fails(2, "permission")
    weights.chmod(0o600)
    assert quick("plan", "model").code == 0
