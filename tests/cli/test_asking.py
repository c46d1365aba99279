"""What `qdeploy run` can be asked for, and what it says of settings that it does not follow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qdeploy import models
from tests.support.command import Command, QuickCommand
from tests.support.real import NEEDS_RUNTIME
from tests.support.real import qdeploy as real_qdeploy

EXPORT = ["export", "model", "--target", "scripted", "--profile", "scripted.toml", "-o", "out"]


def prompt_tokens(quick: QuickCommand, *arguments: str) -> int:
    result = quick("run", "bundle", "2 + 2?", "--json", *arguments)
    assert result.code == 0, result.stderr
    return int(result.json["prompt_tokens"])


@pytest.mark.usefixtures("bundle")
def test_a_system_prompt_becomes_part_of_the_prompt(quick: QuickCommand) -> None:
    assert prompt_tokens(quick, "--system", "Be brief.") > prompt_tokens(quick, "--system", "")
    assert prompt_tokens(quick, "--system", "") > prompt_tokens(quick)


@pytest.mark.usefixtures("bundle")
def test_a_system_prompt_that_is_not_text_is_refused(qdeploy: Command) -> None:
    qdeploy("run", "bundle", "2 + 2?", "--system", "\udcff").fails(2, "--system is not UTF-8 text")


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--min-p", "1.5"), ("--min-p", "nan"), ("--repetition-penalty", "0"),
        ("--repetition-penalty", "inf"), ("--presence-penalty", "3"),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_refused(option: str, value: str, quick: QuickCommand) -> None:
    quick("run", "bundle", "2 + 2?", option, value).fails(2, option)


@pytest.mark.usefixtures("bundle")
def test_an_answer_ends_before_a_text_that_is_to_end_it(quick: QuickCommand) -> None:
    whole = quick("run", "bundle", "2 + 2?").stdout.strip()
    assert len(whole) > 1
    stopped = quick("run", "bundle", "2 + 2?", "--stop", "never", "--stop", whole[-1])
    assert stopped.stdout.strip() == whole[:-1]


@pytest.mark.usefixtures("bundle")
def test_a_schema_is_read_from_a_file(quick: QuickCommand) -> None:
    ask = ("run", "bundle", "2 + 2?", "--json-schema")
    quick(*ask, "absent.json").fails(2, "absent.json: No such file")
    (quick.folder / "schema.json").write_text("{")
    quick(*ask, "schema.json").fails(2, "the JSON schema is not an object in JSON")
    (quick.folder / "schema.json").write_text('{"type": "object"}')
    quick(*ask, "schema.json").fails(2, "the session cannot keep an answer to a JSON schema")


@pytest.mark.usefixtures("bundle")
def test_an_answer_that_is_cut_may_have_repeated_itself(quick: QuickCommand) -> None:
    """Qwen advises this penalty for quantized models."""
    says = "cut at the length limit | if it repeats itself: --presence-penalty 1.5"
    cut = ("run", "bundle", "2 + 2?", "--max-new-tokens", "2")
    assert says in quick(*cut).stderr
    assert "repeats itself" not in quick(*cut, "--presence-penalty", "1").stderr
    assert "repeats itself" not in quick("run", "bundle", "2 + 2?").stderr


@pytest.mark.usefixtures("scripted_toml")
def test_what_the_file_asks_for_and_does_not_get_is_said_at_export_and_at_run(
    model: Path, quick: QuickCommand
) -> None:
    file = model / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) | {
        "do_sample": False, "temperature": 0, "top_k": -1, "no_repeat_ngram_size": 3,
    }  # fmt: skip
    file.write_text(json.dumps(settings), encoding="utf-8")
    says = "generation_config.json asks for no_repeat_ngram_size = 3, which qdeploy does not apply"
    exported = quick(*EXPORT, "--json")
    assert exported.code == 0, exported.stderr
    assert exported.json["warnings"] == [says]
    ran = quick("run", "out", "2 + 2?", "--json")
    assert ran.json["warnings"] == [says]
    for result in (exported, ran):
        assert result.stderr.count(says) == 1


@pytest.mark.slow
@NEEDS_RUNTIME
def test_a_penalty_changes_a_real_answer(nano_bundle: Path) -> None:
    def thinking(*options: str) -> str:
        asked = ("What is 4444 + 4444?", "--temperature", "0", "--max-new-tokens", "99", "--json")
        done = real_qdeploy("run", str(nano_bundle), *asked, *options)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["thinking"])

    assert thinking("--repetition-penalty", "1.8") != thinking()


@pytest.mark.slow
@NEEDS_RUNTIME
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_odd_settings_keep_no_runtime_from_loading(backend: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models.path("qwen3-nano"), tmp_path / "model"))
    settings = {"do_sample": True, "temperature": 0, "top_k": -1, "top_p": 1.5, "min_p": None,
                "repetition_penalty": 1.05, "max_new_tokens": 60, "num_beams": 4}  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    out, where = str(tmp_path / "out"), ("--target", "cpu", "--backend", backend)
    done = real_qdeploy("export", str(folder), *where, "-o", out)
    assert done.returncode == 0, done.stderr
    ran = real_qdeploy("run", out, "What is 17 + 25?", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["text"] == "42"
    for shown in (done.stderr, ran.stderr):
        assert "asks for num_beams = 4" in shown
