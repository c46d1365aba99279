"""Plugins are found by their names; a broken plugin is an error that names its distribution."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy import registry
from qdeploy.errors import InputError, PlanError, ProfileError, QdeployError
from qdeploy.planning.formats import Format
from qdeploy.planning.profile import Profile, parse_profile
from qdeploy.targets import BUILT_IN, CPU
from tests.support.bundles import profile_text
from tests.support.plugins import SCRIPTED, Plugins, only
from tests.support.scripted import HERE, ScriptedBackend, ScriptedExporter

HERE_TOO = "tests.unit.test_registry"


class Nameless(ScriptedBackend):
    name = "another"


class Impostor:
    name = "impostor"


class Explosive(ScriptedBackend):
    name = "explosive"

    def __init__(self) -> None:
        raise OSError("libexplosive.so: cannot open shared object file")


class Aaa(ScriptedBackend):
    name = "aaa"


class Rival(ScriptedBackend):
    name = "rival"
    formats = ("onnx",)


def backend_at(name: str, place: str) -> Plugins:
    return {registry.BACKENDS: {name: place}}


def test_a_plugin_is_found_by_its_name(tmp_path: Path) -> None:
    with only(tmp_path, acme=SCRIPTED):
        assert isinstance(registry.backend("scripted"), ScriptedBackend)
        assert isinstance(registry.exporter("scripted"), ScriptedExporter)


@pytest.mark.parametrize(
    ("name", "place", "says"),
    [
        ("gone", "acme_qdeploy.nowhere:Backend", "ModuleNotFoundError"),
        ("gone", f"{HERE_TOO}:Missing", "AttributeError"),
        ("explosive", f"{HERE_TOO}:Explosive", "libexplosive.so"),
        ("impostor", f"{HERE_TOO}:Impostor", "is not a Backend"),
        ("nameless", f"{HERE_TOO}:Nameless", "calls itself 'another'"),
    ],
)
def test_a_broken_plugin_is_an_error_that_names_its_distribution(
    name: str, place: str, says: str, tmp_path: Path
) -> None:
    with only(tmp_path, acme=backend_at(name, place)), pytest.raises(QdeployError) as caught:
        registry.backends()
    assert says in str(caught.value)
    assert "acme" in str(caught.value)
    assert caught.value.exit_code == 1


def test_an_exporter_among_the_backends_is_refused(tmp_path: Path) -> None:
    misplaced = backend_at("scripted", SCRIPTED[registry.EXPORTERS]["scripted"])
    with only(tmp_path, acme=misplaced), pytest.raises(QdeployError, match="is not a Backend"):
        registry.backends()


def test_an_unknown_name_gets_the_nearest_known_name(tmp_path: Path) -> None:
    with only(tmp_path, acme=SCRIPTED):
        for kind, look_up in (
            ("backend", registry.backend),
            ("exporter", registry.exporter),
            ("target", registry.target),
        ):
            with pytest.raises(InputError, match=f"unknown {kind} 'scriptd'") as caught:
                look_up("scriptd")
            assert caught.value.fix == "did you mean 'scripted'?"


@pytest.mark.parametrize(
    ("word", "fix"),
    [
        ("CPU", "did you mean 'cpu'?"),
        ("nvidia", "choose one of: cuda"),
        ("gpu", "choose one of: cuda, dcu, intel-gpu, rocm, webgpu"),
        ("NPU", "choose one of: ascend, intel-npu"),
    ],
)
def test_hardware_in_a_persons_words_is_answered_with_its_targets(word: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        registry.target(word)
    assert caught.value.fix == fix


def test_the_nine_built_in_targets_need_no_plugin(tmp_path: Path) -> None:
    names = "cpu intel-cpu intel-gpu intel-npu cuda rocm dcu ascend webgpu"
    with only(tmp_path):
        assert list(registry.targets()) == names.split()


def test_a_plugin_brings_targets_of_its_own(tmp_path: Path) -> None:
    with only(tmp_path, acme=SCRIPTED):
        assert registry.target("scripted") is HERE
        assert list(registry.targets())[: len(BUILT_IN)] == [t.name for t in BUILT_IN]


def test_backends_are_chosen_by_target_and_format(tmp_path: Path) -> None:
    rival = backend_at("rival", f"{HERE_TOO}:Rival")
    with only(tmp_path, acme=SCRIPTED, other=rival):
        assert [b.name for b in registry.backends_for(HERE)] == ["rival", "scripted"]
        assert [b.name for b in registry.backends_for(HERE, format="onnx")] == ["rival"]
        assert registry.backends_for(CPU) == []


def test_the_exporter_of_a_format_is_the_first_that_writes_it(tmp_path: Path) -> None:
    with only(tmp_path, acme=SCRIPTED):
        assert registry.exporter_for("script").name == "scripted"
        with pytest.raises(PlanError, match="no installed exporter writes the format 'onnx'"):
            registry.exporter_for("onnx")


def test_qdeploys_own_come_before_a_third_partys(tmp_path: Path) -> None:
    own = backend_at("openvino", "qdeploy.backends.openvino:OpenVINOBackend")
    earlier_by_name = backend_at("aaa", f"{HERE_TOO}:Aaa")
    with only(tmp_path, acme=earlier_by_name, qdeploy=own):
        assert list(registry.backends()) == ["openvino", "aaa"]


def test_a_third_party_cannot_take_the_name_of_qdeploys_own(tmp_path: Path) -> None:
    own = backend_at("openvino", "qdeploy.backends.openvino:OpenVINOBackend")
    rival = backend_at("openvino", f"{HERE_TOO}:Rival")
    with (
        only(tmp_path, acme=rival, qdeploy=own),
        pytest.raises(QdeployError, match=r"a second .* 'openvino': .* of acme"),
    ):
        registry.backends()


ACME = Format("acme", files={"weights": "*.acme"}, exporter="aaa")


class AcmeExporter(ScriptedExporter):
    name, formats = "acme", ("acme",)


class AcmeSecond(ScriptedExporter):
    name, formats = "aaa", ("acme",)


def profile_of(format: str) -> Profile:
    text = profile_text().replace('"script"', f'"{format}"')
    return parse_profile(text, "mine", where="mine.toml")


def test_a_plugin_brings_a_bundle_format_of_its_own(tmp_path: Path) -> None:
    brings = {registry.FORMATS: {"acme": f"{HERE_TOO}:ACME"}}
    with only(tmp_path, acme=brings):
        assert list(registry.formats()) == [
            "openvino",
            "onnx",
            "onnx-static",
            "safetensors",
            "acme",
        ]
        assert registry.format_of(profile_of("acme")) is ACME


def test_a_profile_of_an_unknown_format_names_the_nearest_known_one(tmp_path: Path) -> None:
    brings = {registry.FORMATS: {"acme": f"{HERE_TOO}:ACME"}}
    with only(tmp_path, acme=brings), pytest.raises(ProfileError) as caught:
        registry.format_of(profile_of("acmee"))
    assert caught.value.what == "profile 'mine' has the unknown format 'acmee'"
    assert caught.value.fix == "did you mean 'acme'?"
    with only(tmp_path / "no"), pytest.raises(ProfileError) as caught:
        registry.format_of(profile_of("gguf"))
    assert caught.value.fix == "choose one of: onnx, onnx-static, openvino, safetensors"


@pytest.mark.parametrize(
    ("name", "place", "says"),
    [
        ("other", f"{HERE_TOO}:ACME", "calls itself 'acme'"),
        ("aaa", f"{HERE_TOO}:Aaa", "is not a Format"),
        ("onnx", "qdeploy.planning.formats:ONNX", "takes the name of the built-in format 'onnx'"),
    ],
)
def test_a_broken_format_is_an_error(name: str, place: str, says: str, tmp_path: Path) -> None:
    brings = {registry.FORMATS: {name: place}}
    with only(tmp_path, acme=brings), pytest.raises(QdeployError) as caught:
        registry.formats()
    assert says in str(caught.value)


def test_a_formats_row_names_its_default_exporter(tmp_path: Path) -> None:
    brings = {
        registry.FORMATS: {"acme": f"{HERE_TOO}:ACME"},
        registry.EXPORTERS: {
            "acme": f"{HERE_TOO}:AcmeExporter",
            "aaa": f"{HERE_TOO}:AcmeSecond",
        },
    }
    first = {registry.EXPORTERS: {"acme": f"{HERE_TOO}:AcmeExporter"}}
    with only(tmp_path, acme=brings):
        assert registry.exporter_for("acme").name == "aaa"
    with only(tmp_path / "without", acme=first):
        assert registry.exporter_for("acme").name == "acme"
