"""Export: from a plan to a bundle that appears whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qdeploy import models, registry
from qdeploy.bundle import MANIFEST, open_bundle
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.deploy.export import export, prepare
from qdeploy.errors import (
    CheckpointError,
    ExportFailed,
    InputError,
    OutputError,
    PlanError,
    ProfileError,
    QdeployError,
)
from qdeploy.interface import Progress
from qdeploy.planning.formats import Format
from qdeploy.planning.plan import Plan
from qdeploy.storage.hashing import Identity
from qdeploy.tokenization.text_files import find_text_files
from tests.support.bundles import profile_text, scripted_bundle, scripted_plan
from tests.support.checkpoints import SMALL, write_checkpoint
from tests.support.plugins import SCRIPTED, only
from tests.support.scripted import HERE, WEIGHTS, ScriptedExporter

OTHER = SMALL | {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}


class TestExport:
    def test_the_bundle_holds_weights_sidecars_and_manifest(self, tmp_path: Path) -> None:
        made = scripted_bundle(tmp_path / "out", tmp_path / "model")
        sidecars = find_text_files(tmp_path / "model").paths
        expected = {WEIGHTS, MANIFEST, *sidecars}
        assert {p.name for p in made.path.iterdir()} == expected | {"README.md"}
        assert set(made.manifest.files) == expected - {MANIFEST}

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
    def test_sidecars_travel_as_they_are(self, name: str, tmp_path: Path) -> None:
        made = scripted_bundle(tmp_path / "out", tmp_path / "model")
        assert (made.path / name).read_bytes() == (tmp_path / "model" / name).read_bytes()

    def test_a_file_of_the_format_that_the_exporter_did_not_write_is_named(
        self, tmp_path: Path
    ) -> None:
        resolved = scripted_plan(tmp_path / "model")
        wanted = Format("acme", files={"graph": "acme.graph", "weights": "*.safetensors"})
        incomplete = dataclasses.replace(resolved, format_row=wanted)
        with pytest.raises(ExportFailed, match=r"'scripted' wrote no acme\.graph, which .* acme"):
            export(incomplete, ScriptedExporter(), tmp_path / "out", Progress(), force=False)
        assert not (tmp_path / "out").exists()

    def test_the_manifest_says_what_was_made_of_what(self, tmp_path: Path) -> None:
        manifest = scripted_bundle(tmp_path / "out", tmp_path / "model").manifest
        found = read_checkpoint(tmp_path / "model")
        assert manifest.model.digest == Identity(found.files()).hexdigest()
        assert manifest.model.parameters == found.parameters
        assert manifest.model.context_length == SMALL["max_position_embeddings"]
        assert (manifest.target, manifest.exporter) == (HERE.name, "scripted")
        assert "qdeploy" in manifest.tools

    def test_the_manifest_names_no_place_on_this_machine(self, tmp_path: Path) -> None:
        made = scripted_bundle(tmp_path / "out", tmp_path / "model")
        assert str(tmp_path) not in (made.path / MANIFEST).read_text()

    @pytest.mark.parametrize(
        ("fault", "error", "says"),
        [
            ("crash", ExportFailed, "the script ends badly"),
            ("full", ExportFailed, "the disk is full"),
        ],
    )
    def test_a_failure_leaves_nothing(
        self, fault: str, error: type[QdeployError], says: str, tmp_path: Path
    ) -> None:
        plan = scripted_plan(tmp_path / "model", export=fault)
        with pytest.raises(error, match=says):
            export(plan, ScriptedExporter(), tmp_path / "here" / "out", Progress(), force=False)
        assert list((tmp_path / "here").iterdir()) == []

    def test_a_failure_under_force_leaves_the_old_bundle(self, tmp_path: Path) -> None:
        old = scripted_bundle(tmp_path / "here" / "out", tmp_path / "model")
        plan = scripted_plan(tmp_path / "model", export="crash")
        with pytest.raises(ExportFailed):
            export(plan, ScriptedExporter(), old.path, Progress(), force=True)
        assert open_bundle(old.path, full=True) == old
        assert list(old.path.parent.iterdir()) == [old.path]

    def test_an_output_that_exists_is_refused_before_any_work(self, tmp_path: Path) -> None:
        old = scripted_bundle(tmp_path / "out", tmp_path / "model")
        plan = scripted_plan(tmp_path / "model", export="crash")
        with pytest.raises(OutputError, match="output exists"):
            export(plan, ScriptedExporter(), old.path, Progress(), force=False)

    def test_force_replaces_the_whole_bundle(self, tmp_path: Path) -> None:
        old = scripted_bundle(tmp_path / "out", tmp_path / "model", answer="old")
        plan = scripted_plan(tmp_path / "model", answer="new")
        new = export(plan, ScriptedExporter(), old.path, Progress(), force=True)
        assert open_bundle(old.path, full=True) == new != old


class Slow(ScriptedExporter):
    """While it works, another exports to the same place."""

    def __init__(self, place: Path, model: Path) -> None:
        self._place, self._model = place, model

    def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
        super().export(plan, folder, progress)
        scripted_bundle(self._place, self._model, answer="the quick one's")


class TestWhatIsNeverReplaced:
    def test_the_model_that_is_exported(self, tmp_path: Path) -> None:
        old = scripted_bundle(tmp_path / "out", tmp_path / "model")
        shutil.move(tmp_path / "model", old.path / ".model")
        self.refused(old.path / ".model", old.path, "the output would replace")

    @pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege")
    def test_the_model_behind_links(self, tmp_path: Path) -> None:
        """As in the hub's cache, where each file is a link to another folder."""
        old = scripted_bundle(tmp_path / "out", tmp_path / "model")
        shutil.move(tmp_path / "model", old.path / ".model")
        (tmp_path / "model").mkdir()
        for file in (old.path / ".model").iterdir():
            (tmp_path / "model" / file.name).symlink_to(file)
        (tmp_path / "link").symlink_to(tmp_path)
        self.refused(tmp_path / "model", tmp_path / "link" / "out", "the output would replace")

    def test_a_file_that_somebody_put_into_a_bundle(self, tmp_path: Path) -> None:
        old = scripted_bundle(tmp_path / "out", tmp_path / "model")
        (old.path / "notes.txt").write_text("mine")
        self.refused(tmp_path / "model", old.path, "'notes.txt', which qdeploy did not write")

    @pytest.mark.parametrize("manifest", ["{", '{"files": []}'])
    def test_a_bundle_whose_manifest_does_not_tell(self, manifest: str, tmp_path: Path) -> None:
        old = scripted_bundle(tmp_path / "out", tmp_path / "model")
        (old.path / MANIFEST).write_text(manifest)
        self.refused(tmp_path / "model", old.path, "not ")

    def refused(self, model: Path, destination: Path, says: str) -> None:
        before = {p: p.read_bytes() for p in destination.parent.rglob("*") if p.is_file()}
        with pytest.raises(OutputError, match=says) as caught:
            export(scripted_plan(model), ScriptedExporter(), destination, Progress(), force=True)
        assert "choose another -o DIR" in (caught.value.fix or "")
        after = {p: p.read_bytes() for p in destination.parent.rglob("*") if p.is_file()}
        assert after == before

    def test_a_bundle_that_another_export_made_meanwhile(self, tmp_path: Path) -> None:
        plan, place = scripted_plan(tmp_path / "model", answer="the slow one's"), tmp_path / "out"
        with pytest.raises(OutputError, match="output exists"):
            export(plan, Slow(place, tmp_path / "model"), place, Progress(), force=False)
        properties = open_bundle(place, full=True).manifest.profile.runtime.properties
        assert properties["answer"] == "the quick one's"


@pytest.fixture(scope="module")
def scripted_profile(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("profile") / "scripted.toml"
    file.write_text(profile_text(), encoding="utf-8")
    return str(file)


class TestPrepare:
    @pytest.fixture(autouse=True)
    def _plugins(self, tmp_path: Path) -> Iterator[None]:
        with only(tmp_path / "plugins", acme=SCRIPTED):
            yield

    @pytest.fixture
    def small(self, tmp_path: Path) -> Checkpoint:
        return read_checkpoint(write_checkpoint(tmp_path / "model"))

    def test_names_become_a_plan_and_an_exporter(
        self, small: Checkpoint, scripted_profile: str
    ) -> None:
        plan, exporter = prepare(small, "scripted", profile_name=scripted_profile, context=100)
        assert (plan.target, plan.context, exporter.name) == (HERE, 100, "scripted")

    @pytest.mark.parametrize(
        ("target", "options", "kind", "says"),
        [
            ("scriptd", {}, InputError, "did you mean 'scripted'?"),
            ("intel-cpu", {"profile_name": "intel-cpu-int5"}, ProfileError, "did you mean"),
            ("scripted", {}, ProfileError, "no profile ships for target 'scripted'"),
            ("intel-gpu", {"profile_name": "intel-cpu-int4"}, PlanError, "--target intel-cpu"),
            ("intel-cpu", {"profile_name": ""}, ProfileError, "unknown profile ''"),
            ("intel-cpu", {"exporter_name": ""}, InputError, "unknown exporter ''"),
            ("intel-cpu", {"exporter_name": "script"}, InputError, "did you mean 'scripted'?"),
            ("intel-cpu", {}, PlanError, "no installed exporter writes the format 'openvino'"),
        ],
    )
    def test_names_that_do_not_fit_are_refused_with_the_way_out(
        self,
        small: Checkpoint,
        target: str,
        options: dict[str, str],
        kind: type[InputError],
        says: str,
    ) -> None:
        with pytest.raises(kind) as caught:
            prepare(small, target, **options)  # type: ignore[arg-type]
        assert says in str(caught.value)

    @pytest.mark.parametrize("name", ["generation_config.json", "model.safetensors"])
    def test_a_file_that_may_not_be_read_is_refused_at_once(
        self, name: str, small: Checkpoint, scripted_profile: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        def denied(file: Path, *arguments: Any, **options: Any) -> Any:
            if file.name == name:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return usual(file, *arguments, **options)

        usual = Path.open
        monkeypatch.setattr(Path, "open", denied)
        with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied") as caught:
            prepare(small, "scripted", profile_name=scripted_profile)
        assert caught.value.where == str(small.folder / name)

    def test_an_exporters_own_reason_is_told(self, small: Checkpoint, tmp_path: Path) -> None:
        file = tmp_path / "forbidden.toml"
        file.write_text(profile_text().replace('linear]\ndtype = "fp16"', 'linear]\ndtype = "nf4"'))
        with pytest.raises(PlanError, match="'scripted' cannot do this: the script forbids it"):
            prepare(small, "scripted", profile_name=str(file))

    def test_an_unknown_architecture_is_named_with_the_exporter_that_can_take_it(
        self, tmp_path: Path, scripted_profile: str
    ) -> None:
        gemma = read_checkpoint(write_checkpoint(tmp_path / "gemma", OTHER))
        with pytest.raises(CheckpointError, match="unknown architecture GemmaFor") as caught:
            prepare(gemma, "scripted", profile_name=scripted_profile)
        assert caught.value.fix == "--exporter scripted can"

    def test_an_unknown_architecture_passes_where_the_exporter_is_named(
        self, tmp_path: Path, scripted_profile: str
    ) -> None:
        gemma = read_checkpoint(write_checkpoint(tmp_path / "gemma", OTHER))
        options = {"profile_name": scripted_profile, "exporter_name": "scripted"}
        plan, _ = prepare(gemma, "scripted", **options)  # type: ignore[arg-type]
        assert plan.checkpoint.config.name == "GemmaForCausalLM"


@pytest.mark.parametrize("target", ["intel-cpu", "intel-gpu", "intel-npu"])
@pytest.mark.parametrize("name", models.EMBEDDED)
def test_embedded_models_can_be_planned_for_every_target_with_a_profile(
    name: str, target: str
) -> None:
    found = read_checkpoint(models.path(name), name=name)
    plan, exporter = prepare(found, target)
    assert plan.format in exporter.formats
    assert exporter is registry.exporter_for(plan.format)
    assert json.dumps(plan.summary())


def test_a_checkpoint_that_changes_under_way_is_not_hidden(tmp_path: Path) -> None:
    """The digest in the manifest is of what was exported; a file that is gone is an error."""
    plan = scripted_plan(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
    with pytest.raises((OSError, QdeployError)):
        export(plan, ScriptedExporter(), tmp_path / "here" / "out", Progress(), force=False)
    assert list((tmp_path / "here").iterdir()) == []
