"""A whole calibration: what it keeps, what it shares, and what stops it."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.calibration import run
from qdeploy.calibration.report import Report
from qdeploy.calibration.run import calibrate
from qdeploy.calibration.store import open_codes, store_of
from qdeploy.errors import ExportFailed
from qdeploy.planning.calibration import Calibration
from qdeploy.planning.plan import Plan
from qdeploy.storage.cache_root import ENVIRONMENT, calibrations
from tests.support import tiny
from tests.support.native import FLOAT, resolve

LINEAR = '{{ dtype = "int4", group_size = {size} }}'
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    return tiny.write(tmp_path / "model", tiny.DENSE)


def plan(model: Path, size: int = 32, embedding: str = FLOAT, **settings: Any) -> Plan:
    chosen = Calibration(**{"tokens": 256, "seed": 0, "importance": True} | settings)
    linear = LINEAR.format(size=size)
    return resolve(model, linear=linear, embedding=embedding, calibration=chosen)


def folders() -> set[str]:
    return {path.name for path in calibrations().iterdir()}


def files(made: Plan) -> set[str]:
    return {file.name for file in store_of(made).folder.iterdir()}


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("this was done before")


def test_what_is_finished_is_not_done_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(model)
    record = calibrate(made, Report())
    assert record.losses.keys() == {t.name for t in made.tensors if t.calibrated}
    assert sum(text.tokens for text in record.texts) == record.tokens
    assert files(made) == {"codes.bin", "record.json", "lock"}
    monkeypatch.setattr(run, "_run", refuse)
    # a run that was killed between its record and its tidying
    (store_of(made).folder / "3-exact.f32").write_bytes(bytes(8))
    assert calibrate(plan(model), Report()) == record
    assert files(made) == {"codes.bin", "record.json", "lock"}


def test_another_precision_shares_texts_and_importance(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate(plan(model), Report())
    before = folders()
    monkeypatch.setattr("qdeploy.calibration.texts.mix.own_text", refuse)
    monkeypatch.setattr("qdeploy.calibration.importance.importance.Energies", refuse)
    calibrate(plan(model, size=16), Report())
    assert len(folders() - before) == 1


@pytest.mark.parametrize("settings", [{"seed": 1}, {"tokens": 300}, {"importance": False}], ids=str)
def test_other_settings_find_other_codes(model: Path, settings: dict[str, Any]) -> None:
    one, other = plan(model), plan(model, **settings)
    assert store_of(one).folder != store_of(other).folder
    assert calibrate(one, Report()) != calibrate(other, Report())


def test_a_head_of_four_bits_is_calibrated(model: Path) -> None:
    made = plan(model, embedding='{ dtype = "int4", group_size = 32 }')
    record = calibrate(made, Report())
    assert "model.embed_tokens.weight" in record.losses
    codes = open_codes(made)
    found = codes.read("model.embed_tokens.weight", 0, 4).dequantize()
    assert np.isfinite(found).all()
    assert found.any()


def test_a_disk_without_room_is_told_before_anything_is_done(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qdeploy.calibration.run.shutil.disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000)
    )
    monkeypatch.setattr("qdeploy.calibration.texts.mix.own_text", refuse)
    with pytest.raises(ExportFailed, match=r"needs .* of disk, and 1\.0 kB are free") as caught:
        calibrate(plan(model), Report())
    assert ENVIRONMENT in str(caught.value.fix)


def test_codes_that_were_removed_are_not_read(model: Path) -> None:
    made = plan(model)
    calibrate(made, Report())
    shutil.rmtree(store_of(made).folder)
    with pytest.raises(ExportFailed, match="are not there"):
        open_codes(made)
