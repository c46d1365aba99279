"""Run: from a model or a bundle to a session, only ever where the user asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from qdeploy import registry
from qdeploy.bundle import Bundle
from qdeploy.deploy import cache, run
from qdeploy.deploy.run import Choice, choose, load
from qdeploy.errors import InputError, PlanError, QdeployError, TargetUnavailable
from qdeploy.interface import Device, LoadOptions, Session
from qdeploy.planning.profile import load_profile
from qdeploy.targets import Evidence, Target
from tests.support.bundles import scripted_bundle
from tests.support.plugins import SCRIPTED, only
from tests.support.scripted import HERE, NOT_HERE, ScriptedBackend, ScriptedSession

PLUGINS = {
    registry.BACKENDS: SCRIPTED[registry.BACKENDS]
    | {
        "absent": "tests.unit.deploy.test_run:Absent",
        "strayed": "tests.unit.deploy.test_run:Strayed",
        "splitting": "tests.unit.deploy.test_run:Splitting",
    },
    registry.EXPORTERS: SCRIPTED[registry.EXPORTERS],
    registry.FORMATS: SCRIPTED[registry.FORMATS],
}


class Absent(ScriptedBackend):
    name = "absent"

    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        raise TargetUnavailable("its library is gone", "install its library")


class Strayed(ScriptedBackend):
    """Runs on a simulated device although none was requested."""

    name = "strayed"
    session = ScriptedSession([], evidence=Evidence.SIMULATED)

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        return self.session


class Splitting(ScriptedBackend):
    """Spreads a model over several devices."""

    name = "splitting"
    splits = batches = True
    asked: ClassVar[list[LoadOptions]] = []

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        self.asked.append(options)
        return super().load(bundle, device, options)


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    with only(tmp_path / "plugins", acme=PLUGINS):
        yield


def only_scripted(folder: Path) -> AbstractContextManager[object]:
    return only(folder / "alone", acme=SCRIPTED)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return scripted_bundle(tmp_path_factory.mktemp("made") / "bundle", answer="yes")


class TestChoose:
    def test_takes_the_bundles_own_target_and_its_first_device(self, made: Bundle) -> None:
        choice = choose(made)
        assert (choice.target, choice.backend.name, choice.device.id) == (
            HERE, "scripted", "SCRIPT:0",
        )  # fmt: skip

    def test_passes_over_a_backend_that_is_absent(self, made: Bundle) -> None:
        names = [b.name for b in registry.backends_for(HERE)]
        assert names.index("absent") < names.index("scripted")
        assert choose(made).backend.name == "scripted"

    @pytest.mark.parametrize(
        ("asked", "given"),
        [(1, "SCRIPT:1"), ("1", "SCRIPT:1"), ("SCRIPT:1", "SCRIPT:1"), ("SCRIPT", "SCRIPT:0")],
    )
    def test_takes_the_device_that_is_asked_for(
        self, asked: int | str, given: str, made: Bundle
    ) -> None:
        assert choose(made, device=asked).device.id == given

    @pytest.mark.parametrize("index", [2, -1, "SCRIPT:2", ""])
    def test_a_device_that_is_not_there_is_answered_with_those_that_are(
        self, index: int | str, made: Bundle
    ) -> None:
        with pytest.raises(InputError, match=f"no device {index}") as caught:
            choose(made, device=index)
        assert caught.value.fix == "choose one of 0: script 0 (SCRIPT:0), 1: script 1 (SCRIPT:1)"

    def test_a_named_backend_is_not_replaced_by_another(self, made: Bundle) -> None:
        with pytest.raises(TargetUnavailable, match="its library is gone") as caught:
            choose(made, backend="absent")
        assert caught.value.fix == "install its library"

    def test_an_absent_target_tells_every_backends_reason_once(self, made: Bundle) -> None:
        with pytest.raises(TargetUnavailable) as caught:
            choose(made, target=NOT_HERE.name)
        assert caught.value.where == NOT_HERE.name
        assert caught.value.reason.startswith("its library is gone; its script is missing")
        assert caught.value.fix == "install its library / pip install 'script[writer]'"

    def test_a_simulated_device_is_used_on_request_only(self, made: Bundle) -> None:
        choice = choose(made, target=NOT_HERE.name, backend="scripted", simulate=True)
        assert choice.device.evidence is Evidence.SIMULATED
        assert "script (simulation)" in run.describe(choice)
        assert "simulated" in run.describe(choice)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"target": "scriptd"}, "did you mean 'scripted'?"),
            ({"backend": "scriptd"}, "did you mean 'scripted'?"),
            ({"target": "cuda"}, "no installed backend runs the format 'script' on cuda"),
            (
                {"target": "cuda", "backend": "scripted"},
                "backend 'scripted' does not run the format 'script' on cuda",
            ),
        ],
    )
    def test_names_that_do_not_fit_are_refused(
        self, options: dict[str, str], says: str, made: Bundle
    ) -> None:
        with pytest.raises(InputError) as caught:
            choose(made, **options)  # type: ignore[arg-type]
        assert says in str(caught.value)

    def test_a_bundle_is_refused_on_a_target_that_cannot_run_its_weights(
        self, made: Bundle
    ) -> None:
        int8 = made.manifest.model_copy(update={"profile": load_profile("intel-cpu-int8")})
        with pytest.raises(PlanError, match="this bundle cannot run on intel-npu") as caught:
            choose(replace(made, manifest=int8), target="intel-npu")
        assert caught.value.where == str(made.path)


class TestSeveralDevices:
    def test_the_backend_gets_them_in_order(self, made: Bundle) -> None:
        choice = choose(made, device=("SCRIPT:1", 0), backend="splitting")
        assert [device.id for device in choice.devices] == ["SCRIPT:1", "SCRIPT:0"]
        assert choice.device.id == "SCRIPT:1"
        assert choice.device_names == "script 1 + script 0"
        with load(made, choice):
            assert Splitting.asked[-1].devices == choice.devices
        with load(made, choose(made, backend="splitting")):
            assert [device.id for device in Splitting.asked[-1].devices] == ["SCRIPT:0"]

    def test_a_backend_that_splits_is_preferred_to_those_before_it(self, made: Bundle) -> None:
        assert choose(made, device=[0, 1]).backend.name == "splitting"
        assert choose(made, device=[1]).backend.name == "scripted"

    def test_a_backend_that_batches_is_preferred_where_several_are_wanted(
        self, made: Bundle
    ) -> None:
        assert choose(made, concurrency=1).backend.name == "scripted"
        assert choose(made, concurrency=2).backend.name == "splitting"
        assert choose(made, concurrency=2, backend="scripted").backend.name == "scripted"

    def test_a_backend_that_does_not_split_is_refused_by_name(self, made: Bundle) -> None:
        with pytest.raises(InputError, match="runs on one device with 'scripted'") as caught:
            choose(made, device=[0, 1], backend="scripted")
        assert caught.value.fix == "--backend splitting"
        with only_scripted(made.path.parent), pytest.raises(InputError) as caught:
            choose(made, device=[0, 1])
        assert caught.value.fix == "give one, with --device"

    @pytest.mark.parametrize(
        ("asked", "says"),
        [
            ((0, "SCRIPT:0"), "device 0 is given twice"),
            ((0, 7), "there is no device 7"),
            ((0, ""), "there is no device without a name"),
            ((), "no device is given"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, asked: tuple[int | str, ...], says: str, made: Bundle
    ) -> None:
        with pytest.raises(InputError, match=says) as caught:
            choose(made, device=asked, backend="splitting")
        assert caught.value.fix

    def test_equal_names_are_counted(self) -> None:
        gpu = Device("cuda:0", "NVIDIA L4", "cuda")
        choice = Choice(HERE, ScriptedBackend(), gpu, (replace(gpu, id="cuda:1"),))
        assert choice.device_names == "2 x NVIDIA L4"
        assert run.describe(choice) == "scripted · scripted · 2 x NVIDIA L4"


class TestLoad:
    def test_gives_a_session_where_it_was_asked_for(self, made: Bundle) -> None:
        with load(made, choose(made), context=100) as session:
            assert session.context == 100
            assert session.placement().evidence is Evidence.DEVICE

    @pytest.mark.parametrize("context", [0, -1, 2049])
    def test_a_context_that_the_bundle_was_not_made_for_is_refused(
        self, context: int, made: Bundle
    ) -> None:
        with pytest.raises(InputError, match="this bundle takes 1 to 2048") as caught:
            load(made, choose(made), context=context)
        assert caught.value.where == str(made.path)

    def test_a_session_that_strayed_to_a_simulated_device_is_closed_and_refused(
        self, made: Bundle
    ) -> None:
        strayed = registry.backend("strayed")
        choice = Choice(HERE, strayed, strayed.devices(HERE)[0])
        with pytest.raises(QdeployError, match="asked for evidence device") as caught:
            load(made, choice)
        assert "simulated" in caught.value.what
        assert Strayed.session.closed
