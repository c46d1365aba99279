"""Export with calibration: what it leaves in the bundle, when it runs, and what resumes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qdeploy
from qdeploy.bundle import open_bundle
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.deploy import cache
from qdeploy.deploy.export import export, prepare
from qdeploy.deploy.work_key import work_key
from qdeploy.errors import CheckpointError, ExportFailed, InputError, OutputError, PlanError
from qdeploy.exporters.native import NativeExporter
from qdeploy.exporters.native.weights_file import writer
from qdeploy.interface import Progress
from qdeploy.planning.calibration import Calibration
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile, profile_source
from qdeploy.targets import CPU
from tests.support import tiny
from tests.support.calibrated import SETTINGS, Engine, put_in, record_of
from tests.support.checkpoints import SMALL, write_checkpoint, write_weights

PROFILE = "cpu-int4-torch"
"""Its format needs no library."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return put_in(monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "model", tiny.DENSE)


def resolve(model: Path, calibration: Calibration | None = SETTINGS) -> Plan:
    found = read_checkpoint(model)
    return make_plan(found, load_profile(PROFILE), CPU, calibration=calibration)


class Heard(Progress):
    def __init__(self) -> None:
        self.said: list[Any] = []

    def begin(self, total_bytes: int) -> None:
        self.said.append("begin")

    def stage(self, title: str) -> None:
        self.said.append(title)

    def step(self, done: int, total: int) -> None:
        self.said.append((done, total))


def test_the_bundle_tells_how_it_was_calibrated(
    engine: Engine, model: Path, tmp_path: Path
) -> None:
    plan, heard = resolve(model), Heard()
    made = export(plan, NativeExporter(), tmp_path / "out", heard, force=False)
    assert engine.calibrated == [plan]
    assert made.manifest.calibration == record_of(plan)
    opened = open_bundle(made.path, full=True)
    assert opened.digest == made.digest
    assert opened.manifest.calibration == record_of(plan)
    assert heard.said[:4] == ["calibrating the layers", (1, 2), (2, 2), "begin"]
    card = (made.path / "README.md").read_text(encoding="utf-8")
    for words in ("(calibrated)", "## Calibration", "256 tokens of nothing", "seed 3"):
        assert words in card
    summary = made.manifest.plan
    assert summary["linear"] == "int4 sym g128 (calibrated)"
    assert summary["calibration"] == SETTINGS.summary()


def test_a_bundle_without_it_tells_nothing(engine: Engine, model: Path, tmp_path: Path) -> None:
    made = export(resolve(model, None), NativeExporter(), tmp_path / "out", Progress(), force=False)
    assert engine.calibrated == []
    assert "calibration" not in json.loads((made.path / "qdeploy.json").read_text())
    assert "alibrat" not in (made.path / "README.md").read_text(encoding="utf-8")


def test_codes_of_another_calibration_are_another_bundle(
    engine: Engine, model: Path, tmp_path: Path
) -> None:
    digests = set()
    for number, calibration in enumerate((None, SETTINGS, dataclasses.replace(SETTINGS, seed=4))):
        place = tmp_path / str(number)
        made = export(resolve(model, calibration), NativeExporter(), place, Progress(), force=False)
        digests.add(made.digest)
    assert len(digests) == 3
    assert len(engine.calibrated) == 2


def test_an_output_that_exists_is_refused_before(
    engine: Engine, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="output exists"):
        export(resolve(model), NativeExporter(), tmp_path / "out", Progress(), force=False)
    assert engine.calibrated == []


def test_an_interrupted_export_is_calibrated_and_then_resumed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cut-off run has written is still there after calibration, and is gone on from."""
    plan, place = resolve(model), tmp_path / "out"
    left: list[list[Path]] = []

    def look(plan: Plan) -> None:
        left.append(sorted(tmp_path.glob(".out.partial-*")))

    put_in(monkeypatch, before=look)

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write", _then(writer.write, cut))
        with pytest.raises(KeyboardInterrupt):
            export(plan, NativeExporter(), place, Progress(), force=False)
    resumed = export(plan, NativeExporter(), place, Progress(), force=False)
    assert [len(found) for found in left] == [0, 1]
    assert not list(tmp_path.glob(".out.partial-*"))
    whole = export(plan, NativeExporter(), tmp_path / "whole", Progress(), force=False)
    assert resumed.digest == whole.digest


def _then(first: Callable[..., None], last: Callable[..., None]) -> Callable[..., None]:
    def both(*arguments: Any, **named: Any) -> None:
        first(*arguments, **named)
        last(*arguments, **named)

    return both


def test_too_little_memory_is_told_with_what_it_takes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(plan: Plan) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    put_in(monkeypatch, before=fail)
    with pytest.raises(ExportFailed, match=r"9 TiB.*takes about \d+\.\d MB"):
        export(resolve(model), NativeExporter(), tmp_path / "out", Progress(), force=False)
    assert not (tmp_path / "out").exists()


class TestKeys:
    def changed(self, tmp_path: Path) -> list[Calibration | None]:
        mine = tmp_path / "mine.txt"
        mine.write_text("Text.")
        return [
            None,
            SETTINGS,
            dataclasses.replace(SETTINGS, tokens=512),
            dataclasses.replace(SETTINGS, seed=4),
            dataclasses.replace(SETTINGS, importance=True),
            dataclasses.replace(SETTINGS, texts=mine),
        ]

    def test_of_exports_and_of_the_cache_differ_by_each_setting(
        self, model: Path, tmp_path: Path
    ) -> None:
        plans = [resolve(model, calibration) for calibration in self.changed(tmp_path)]
        assert len({work_key(plan, NativeExporter()) for plan in plans}) == len(plans)
        assert len({cache.bundle_path(plan, "native") for plan in plans}) == len(plans)

    def test_differ_by_the_content_of_the_users_file(self, model: Path, tmp_path: Path) -> None:
        plan = resolve(model, self.changed(tmp_path)[-1])
        before = work_key(plan, NativeExporter()), cache.bundle_path(plan, "native")
        (tmp_path / "mine.txt").write_text("Other text.")
        assert work_key(plan, NativeExporter()) != before[0]
        assert cache.bundle_path(plan, "native") != before[1]


class TestPreparing:
    def prepared(self, model: Path, **options: Any) -> Plan:
        return prepare(str(model), "cpu", **({"profile_name": PROFILE} | options))[0]

    def test_options(self, model: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("Text.")
        assert self.prepared(model).calibration is None
        default = self.prepared(model, calibrate=True).calibration
        assert default == Calibration(16384, 0, importance=True)
        chosen = self.prepared(
            model, calibration=tmp_path / "mine.txt", calibration_tokens=300, calibration_seed=5
        ).calibration
        assert chosen == Calibration(300, 5, importance=True, texts=tmp_path / "mine.txt")

    def test_a_profile_that_asks_for_it(self, model: Path, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.write_text(profile_source(PROFILE) + "\n[calibration]\nimportance = false\n")
        asked = self.prepared(model, profile_name=str(file))
        assert asked.calibration == Calibration(16384, 0, importance=False)
        assert self.prepared(model, profile_name=str(file), calibrate=False).calibration is None

    def test_the_api_takes_the_same_and_paths_as_text(self, model: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("Text.")
        options: dict[str, Any] = {"target": "cpu", "profile": PROFILE}
        made = qdeploy.plan(model, calibration=str(tmp_path / "mine.txt"), **options)
        assert made.summary()["calibration"]["texts"] == "mine.txt"
        with pytest.raises(InputError, match="cannot be read"):
            qdeploy.plan(model, calibration=str(tmp_path / "missing"), **options)
        with pytest.raises(InputError, match="calibration: tokens"):
            qdeploy.plan(model, calibration_tokens=1, **options)
        with pytest.raises(InputError, match="--no-calibrate forbids it"):
            qdeploy.plan(model, calibrate=False, calibration_seed=1, **options)

    def test_an_exporter_that_takes_no_codes(self, model: Path) -> None:
        asked = {"profile_name": "cpu-int4-openvino", "calibrate": True}
        with pytest.raises(PlanError, match="takes no codes that are calibrated") as caught:
            self.prepared(model, exporter_name="optimum", **asked)
        assert caught.value.fix == "leave out --exporter"

    def test_a_family_that_only_such_an_exporter_takes(self, tmp_path: Path) -> None:
        config = SMALL | {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}
        folder = write_checkpoint(tmp_path / "other", config)
        write_weights(folder / "model.safetensors", {"something.else.weight": (64, 64)})
        with pytest.raises(CheckpointError, match="unknown architecture") as unknown:
            self.prepared(folder, calibrate=True)
        assert unknown.value.fix is not None
        assert unknown.value.fix.startswith("leave --calibrate out, and --")
        named: dict[str, Any] = {"profile_name": "cpu-int8", "exporter_name": "optimum"}
        named["profile_name"] = "cpu-int4-openvino"
        with pytest.raises(PlanError) as refused:
            self.prepared(folder, calibrate=True, **named)
        assert refused.value.fix is not None
        assert refused.value.fix.startswith("leave --calibrate out")
