"""The artifact and environment of results, and the metadata of a results file."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pytest

from qdeploy.bundle import Bundle
from qdeploy.calibration.record import CalibrationRecord
from qdeploy.deploy.run import Choice
from qdeploy.interface import Device
from qdeploy.results import artifact_of, environment_of, make_results
from qdeploy.targets import Evidence
from tests.support import shown
from tests.support.bundles import scripted_bundle
from tests.support.scripted import HERE, ScriptedBackend, ScriptedSession

CHOICE = Choice(HERE, ScriptedBackend(), Device("SCRIPT:0", "script 0", HERE.name, driver="1.2"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return scripted_bundle(tmp_path_factory.mktemp("made") / "bundle", answer="yes")


def test_an_artifact_identifies_the_bundle_by_content(bundle: Bundle, tmp_path: Path) -> None:
    found = artifact_of(bundle)
    assert (found.bundle_digest, found.bundle_bytes) == (bundle.digest, bundle.nbytes)
    assert (found.profile, found.precision) == ("scripted", "fp16")
    assert artifact_of(scripted_bundle(tmp_path / "again", answer="yes")) == found


def test_an_artifact_says_whether_it_is_calibrated(bundle: Bundle) -> None:
    found = artifact_of(bundle)
    assert not found.calibrated
    assert found.weights == found.precision
    record = CalibrationRecord(
        method="made-up", tokens=9, seed=0, texts=[], importance="none", losses={}
    )
    calibrated = bundle.manifest.model_copy(update={"calibration": record})
    found = artifact_of(replace(bundle, manifest=calibrated))
    assert found.calibrated
    assert found.weights == f"{found.precision} (calibrated)"
    assert not artifact_of(replace(bundle, manifest=calibrated), served=True).calibrated


def test_the_environment_comes_from_the_session(bundle: Bundle) -> None:
    session = ScriptedSession([], evidence=Evidence.SIMULATED)
    found = environment_of(bundle, CHOICE, session)
    assert (found.target, found.device, found.driver) == ("scripted", "script 0", "1.2")
    assert found.evidence is Evidence.SIMULATED
    assert found.placement == session.placement().as_dict()


def test_thread_settings_in_environment_variables_are_among_the_properties(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = environment_of(bundle, CHOICE, ScriptedSession([])).properties
    assert (found["answer"], found["OMP_NUM_THREADS"]) == ("yes", "3")


def test_versions_are_those_of_installed_distributions(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedBackend, "requires", ("numpy", "no-such-distribution"))
    assert environment_of(bundle, CHOICE, ScriptedSession([])).versions.keys() == {"numpy"}


def test_a_file_has_the_time_and_the_version_of_qdeploy() -> None:
    made = make_results(shown.LAPTOP, [shown.diagnosis()])
    assert made.qdeploy == version("qdeploy")
    age = datetime.now(timezone.utc) - datetime.fromisoformat(made.created)
    assert abs(age) < timedelta(minutes=5)
