"""`import qdeploy`: what it loads, and what it does with a scripted runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import qdeploy
from qdeploy import registry
from qdeploy.deploy import cache
from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.errors import InputError, PromptError
from qdeploy.interface import Sampling
from qdeploy.targets import Evidence
from tests.support.bundles import profile_text
from tests.support.checkpoints import write_checkpoint
from tests.support.plugins import SCRIPTED, only
from tests.support.scripted import HERE, NOT_HERE, ScriptedSession
from tests.support.tools import TOOLS, call

ANSWER = "<think>\nTwo and two.\n</think>\n\n4 汉🚀"
QUESTION = [{"role": "user", "content": "2 + 2?"}]


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripted.toml").write_text(profile_text(answer=ANSWER), encoding="utf-8")
    with only(tmp_path / "plugins", acme=SCRIPTED):
        yield


@pytest.fixture
def bundle(tmp_path: Path) -> qdeploy.Bundle:
    model = write_checkpoint(tmp_path / "model")
    return qdeploy.export(model, target=HERE.name, profile="scripted.toml", output="bundle")


@pytest.fixture
def model(bundle: qdeploy.Bundle) -> Iterator[qdeploy.Model]:
    with qdeploy.load(bundle) as loaded:
        yield loaded


def session_of(model: qdeploy.Model) -> ScriptedSession:
    assert isinstance(model, ChatModel)
    assert isinstance(model.session, ScriptedSession)
    return model.session


def requests(model: qdeploy.Model) -> list[Sampling]:
    return [request.sampling for request in session_of(model).requests]


class TestModule:
    def test_importing_it_imports_nothing_else(self) -> None:
        code = (
            "import sys, typing; before = {*sys.modules}; import qdeploy; "
            "print(*{*sys.modules} - before)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.split() == ["qdeploy"]

    def test_every_public_name_is_there_and_listed(self) -> None:
        assert {*qdeploy.__all__} <= {*dir(qdeploy)}
        for name in qdeploy.__all__:
            assert getattr(qdeploy, name).__name__ == name

    def test_another_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'exprot'"):
            qdeploy.exprot  # noqa: B018


class TestExport:
    def test_writes_a_bundle_that_opens(self, bundle: qdeploy.Bundle, tmp_path: Path) -> None:
        assert bundle.path == Path("bundle")
        assert bundle.manifest.target == HERE.name
        assert qdeploy.open("bundle", full=True) == bundle

    def test_the_default_directory_is_named_after_model_and_profile(self, tmp_path: Path) -> None:
        model = write_checkpoint(tmp_path / "tiny")
        made = qdeploy.export(model, target=HERE.name, profile=tmp_path / "scripted.toml")
        assert made.path == Path("tiny-scripted")

    def test_the_context_is_the_bundles(self, tmp_path: Path) -> None:
        model = write_checkpoint(tmp_path / "tiny")
        made = qdeploy.export(model, target=HERE.name, profile="scripted.toml", context=64)
        assert made.manifest.model.context_length == 64


class TestPlan:
    def test_is_what_an_export_would_write(self, tmp_path: Path, bundle: qdeploy.Bundle) -> None:
        plan = qdeploy.plan(tmp_path / "model", target=HERE.name, profile="scripted.toml")
        assert json.loads(json.dumps(plan.summary())) == bundle.manifest.plan

    def test_the_named_backend_must_exist(self, tmp_path: Path) -> None:
        model = write_checkpoint(tmp_path / "tiny")
        for function in (qdeploy.plan, qdeploy.export):
            with pytest.raises(InputError, match="backend 'scriptd'") as caught:
                function(model, target=HERE.name, profile="scripted.toml", backend="scriptd")
            assert caught.value.fix == "did you mean 'scripted'?"
            assert not Path("tiny-scripted").exists()

    def test_an_unknown_target_is_named(self) -> None:
        with pytest.raises(InputError, match="unknown target 'scriptd'") as caught:
            qdeploy.plan("qwen3-nano", target="scriptd")
        assert caught.value.fix == "did you mean 'scripted'?"


class TestLoad:
    def test_a_path_is_opened(self, bundle: qdeploy.Bundle) -> None:
        with qdeploy.load("bundle", device=1, context=100) as model:
            assert model.bundle == bundle
            assert (model.target, model.backend, model.device.id) == (
                HERE.name, "scripted", "SCRIPT:1",
            )  # fmt: skip
            assert model.context == 100

    def test_a_simulated_device_is_used_on_request_only(self, bundle: qdeploy.Bundle) -> None:
        with qdeploy.load(bundle, target=NOT_HERE.name, simulate=True) as model:
            assert model.placement.evidence is Evidence.SIMULATED

    def test_devices_are_several_of_them_and_device_is_one(self, bundle: qdeploy.Bundle) -> None:
        with qdeploy.load(bundle, devices=["SCRIPT:1"]) as model:
            assert [device.id for device in model.devices] == ["SCRIPT:1"]
        with pytest.raises(InputError, match="runs on one device with 'scripted'"):
            qdeploy.load(bundle, devices=[0, 1])
        with pytest.raises(InputError, match="both device and devices") as caught:
            qdeploy.load(bundle, device=0, devices=[1])
        assert caught.value.fix == "leave out one of them"

    def test_properties_go_before_the_profiles(self, bundle: qdeploy.Bundle) -> None:
        with qdeploy.load(bundle, properties={"answer": "5"}) as model:
            assert model.chat("2 + 2?").text == "5"

    def test_leaving_the_block_closes_the_session(self, bundle: qdeploy.Bundle) -> None:
        with qdeploy.load(bundle) as model:
            assert not session_of(model).closed
        assert session_of(model).closed


class TestModel:
    def test_chat_gives_text_thinking_and_figures(self, model: qdeploy.Model) -> None:
        answer = model.chat("2 + 2?", thinking=True)
        assert (answer.text, answer.thinking) == ("4 汉🚀", "Two and two.")
        assert answer.finish_reason == "stop"
        assert answer.prompt_tokens == len(
            model.tokenizer.encode(model.tokenizer.render(QUESTION, thinking=True))
        )
        assert answer.new_tokens == len(model.tokenizer.encode(ANSWER)) + 1
        assert answer.ttft_ms is not None
        assert answer.as_dict()["placement"] == model.placement.as_dict()

    def test_an_answer_may_end_at_a_text(self, model: qdeploy.Model) -> None:
        for stop in ("汉", ["z", "汉"]):
            assert model.chat("2 + 2?", thinking=True, stop=stop).text == "4 "

    def test_a_schema_that_the_runtime_cannot_follow_is_refused(self, model: qdeploy.Model) -> None:
        for schema in ({"type": "object"}, '{"type": "object"}'):
            with pytest.raises(InputError, match="JSON schema"):
                model.chat("2 + 2?", json_schema=schema)

    def test_tools_are_called_and_what_they_return_is_answered(
        self, bundle: qdeploy.Bundle
    ) -> None:
        with qdeploy.load(bundle, properties={"answer": f"<think>Hm.</think>{call()}"}) as model:
            answer = model.chat(QUESTION, tools=TOOLS, tool_choice="auto")
            [only] = answer.tool_calls
            result = {"role": "tool", "tool_call_id": only.id, "content": "3"}
            model.chat([*QUESTION, answer.message, result], tools=TOOLS)
            request = session_of(model).requests[-1]
            rendered = model.tokenizer.decode(request.prompt_ids)
        assert (only.name, answer.text, answer.finish_reason) == ("add", "", "tool_calls")
        assert f"<think>\nHm.\n</think>\n\n{call()}" in rendered
        assert "<tool_response>\n3\n</tool_response>" in rendered
        assert answer.as_dict()["tool_calls"] == answer.message["tool_calls"]

    def test_a_prompt_is_a_chat_of_one_turn(self, model: qdeploy.Model) -> None:
        assert model.chat("2 + 2?").prompt_tokens == model.chat(QUESTION).prompt_tokens

    def test_stream_gives_the_pieces_of_both_channels(self, model: qdeploy.Model) -> None:
        stream = model.stream(QUESTION)
        pieces = list(stream)
        by_channel = {
            channel: "".join(p.text for p in pieces if p.channel == channel)
            for channel in ("reasoning", "content")
        }
        assert by_channel == {"reasoning": "Two and two.", "content": "4 汉🚀"}
        assert model.answer(stream).text == "4 汉🚀"

    def test_leaving_a_stream_early_stops_the_runtime(self, model: qdeploy.Model) -> None:
        stream = model.stream(QUESTION)
        for _ in stream:
            break
        assert session_of(model).closed_early == 1
        assert model.answer(stream).finish_reason == "cancelled"

    def test_sampling_is_the_recommended_one_but_for_what_is_given(
        self, model: qdeploy.Model
    ) -> None:
        model.chat("2 + 2?", thinking=False, seed=3)
        model.chat("2 + 2?", thinking=False, seed=3, temperature=0.25, top_k=0)
        assert requests(model) == [Sampling(0.7, 0.8, 20, 3), Sampling(0.25, 0.8, 0, 3)]

    def test_penalties_and_min_p_reach_the_runtime(self, model: qdeploy.Model) -> None:
        asked = {"min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": 1.5}
        model.chat("2 + 2?", thinking=False, seed=3, **asked)  # type: ignore[arg-type]
        [sampling] = requests(model)
        assert sampling == replace(Sampling(0.7, 0.8, 20, 3), **asked)  # type: ignore[arg-type]

    def test_a_system_prompt_comes_first(self, model: qdeploy.Model) -> None:
        model.chat(QUESTION, system="Be brief.")
        whole = [{"role": "system", "content": "Be brief."}, *QUESTION]
        expected = model.tokenizer.encode(model.tokenizer.render(whole))
        assert list(session_of(model).requests[0].prompt_ids) == expected

    def test_without_a_seed_every_answer_draws_its_own(self, model: qdeploy.Model) -> None:
        for _ in range(4):
            model.chat("2 + 2?")
        assert len({sampling.seed for sampling in requests(model)}) > 1

    def test_a_prompt_that_does_not_fit_is_refused(self, model: qdeploy.Model) -> None:
        with pytest.raises(PromptError, match="the session holds"):
            model.chat("2 + 2? " * 5000)

    @pytest.mark.parametrize(
        ("plan", "says"),
        [
            ({"warnings": ["first", "second"]}, ["first", "second"]),
            ({"warnings": []}, []),
            ({}, ["asks for num_beams = 4"]),
            ({"warnings": 5}, ["asks for num_beams = 4"]),
        ],
        ids=str,
    )
    def test_its_warnings_are_those_of_the_export(
        self, plan: dict[str, object], says: list[str], model: qdeploy.Model
    ) -> None:
        """The manifest has them; one without is older than they are."""
        (model.bundle.path / "generation_config.json").write_text('{"num_beams": 4}')
        model.bundle = replace(
            model.bundle, manifest=model.bundle.manifest.model_copy(update={"plan": plan})
        )
        assert len(model.warnings) == len(says)
        assert all(words in warning for words, warning in zip(says, model.warnings, strict=True))

    def test_an_unknown_option_is_refused(self, model: qdeploy.Model) -> None:
        with pytest.raises(TypeError, match="temprature"):
            model.chat("2 + 2?", temprature=0)  # type: ignore[call-arg]

    def test_a_bad_number_is_refused(self, model: qdeploy.Model) -> None:
        with pytest.raises(InputError, match="the temperature is -1"):
            model.chat("2 + 2?", temperature=-1)

    def test_score_gives_a_row_for_each_token(self, model: qdeploy.Model) -> None:
        assert model.score([1, 2, 3]).shape[0] == 3


def test_the_registry_of_this_test_has_no_backend_but_the_scripted_one() -> None:
    assert [*registry.backends()] == ["scripted"]
