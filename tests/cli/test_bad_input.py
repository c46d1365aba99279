"""Bad input of every kind: one message with what, where and the fix, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import profile_text
from tests.support.checkpoints import SMALL, header, shapes, write_header, write_shards
from tests.support.command import Command, QuickCommand

PLAN = ["plan", "model", "--target", "intel-cpu"]


def _config(folder: Path, **changes: object) -> None:
    (folder / "config.json").write_text(json.dumps(SMALL | changes), encoding="utf-8")


def not_a_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')


def another_architecture(folder: Path) -> None:
    _config(folder, architectures=["GemmaForCausalLM"], model_type="gemma")


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def lying_header(folder: Path) -> None:
    entries, size = header(shapes(SMALL))
    entries["model.norm.weight"]["data_offsets"] = [0, 2**40]
    write_header(folder / "model.safetensors", entries, size)


def missing_shard(folder: Path) -> None:
    write_shards(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model-00002-of-00002.safetensors").unlink()


def missing_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (not_a_config, ["config.json", "not the config of", "'model_type'"]),
        (another_architecture, ["GemmaForCausalLM", "--exporter optimum"]),
        (truncated, ["model.safetensors", "not a whole safetensors file", "download"]),
        (lying_header, ["model.safetensors", "not a whole safetensors file"]),
        (missing_shard, ["model-00002-of-00002.safetensors", "missing", "download"]),
        (missing_tokenizer, ["tokenizer.json is missing", "copy tokenizer.json"]),
    ],
)
def test_a_checkpoint_that_does_not_hold(
    spoil: Callable[[Path], None], says: list[str], model: Path, quick: QuickCommand
) -> None:
    spoil(model)
    quick(*PLAN).fails(2, "error: ", *says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "./nowhere", "--target", "intel-cpu"], ["'./nowhere'"]),
        (["plan", "qwen3-nono", "--target", "intel-cpu"], ["did you mean 'qwen3-nano'?"]),
        (["plan", "model/config.json", "--target", "intel-cpu"], ["a file, not a checkpoint"]),
        (["plan", "model", "--target", "intel-cup"], ["did you mean 'intel-cpu'?"]),
        (["plan", "model", "--target", "scripted"], ["no profile ships", "--profile"]),
        ([*PLAN, "--profile", "intel-cpu-in4"], ["did you mean 'intel-cpu-int4'?"]),
        ([*PLAN, "--profile", "nowhere.toml"], ["nowhere.toml", "cannot read the profile"]),
        ([*PLAN, "--profile", "intel-gpu-int4"], ["is for target 'intel-gpu'"]),
        ([*PLAN, "--exporter", "optimun"], ["did you mean 'optimum'?"]),
        ([*PLAN, "--context", "9999"], ["a context of 9999 tokens", "--context 2048"]),
        (["run", "model", "hi"], ["the target must be named", "--target"]),
        (["run", "What is 2 + 2?", "hi"], ["is called 'What is 2 + 2?'"]),
        (["run", "bundle", "hi", "--backend", "scriptd"], ["did you mean 'scripted'?"]),
        (["run", "bundle", "hi", "--target", "cuda"], ["no installed backend runs the format"]),
        (["run", "bundle", "hi", "--device", "7"], ["there is no device 7", "0: script 0"]),
        (["run", "bundle", "hi", "--devices", "0,1"], ["2 devices are given", "'scripted'"]),
        (["run", "bundle", "hi", "--device", "0", "--devices", "0,1"], ["one list of --devices"]),
        (
            ["run", "bundle", "hi " * 100, "--context", "50"],
            ["the session holds 50", "a longer --context"],
        ),
        (["run", "bundle", "hi", "--context", "0"], ["takes 1 to 2048"]),
        (["run", "bundle", "hi", "--top-p", "nan"], ["not a finite number"]),
        (["run", "bundle", "Why", "not?"], ["in quotes", 'qdeploy run MODEL "TEXT"']),
        (["run", "bundle", "  "], ["the prompt is empty"]),
        (["run", "bundle"], ["the prompt is empty"]),
        (["verify", "nowhere"], ["no such bundle directory"]),
        (["verify", "model"], ["no qdeploy.json in it"]),
        (["profiles", "show", "intel-npu-int5"], ["did you mean 'intel-npu-int4'?"]),
        (["cache", "clear", "nothing"], ["no cache entry 'nothing'"]),
        (["eval", "bundle", "--reference", "model", "--max-kl", "nan"], ["'--max-kl': nan is not"]),
        (["eval", "bundle", "--reference", "model", "--max-kl", "inf"], ["not a finite number"]),
        (["eval", "bundle", "--reference", "model", "--min-top1", "nan"], ["finite number"]),
        (["compare", "a.json", "b.json", "--threshold", "nan"], ["not a finite number"]),
        (["doctor", "cpu", "--timeout", "inf"], ["not a finite number"]),
        (["run", "bundle", "hi", "--temperature", "nan"], ["not a finite number"]),
    ],
    ids=lambda value: " ".join(value)[:50] if len(value) > 1 else "",
)
@pytest.mark.usefixtures("model", "bundle")
def test_names_and_values_that_do_not_fit(
    arguments: list[str], says: list[str], quick: QuickCommand
) -> None:
    quick(*arguments).fails(2, *says)


def test_an_unknown_key_in_a_profile(scripted_toml: Path, model: Path, quick: QuickCommand) -> None:
    text = scripted_toml.read_text(encoding="utf-8").replace(
        "[weights.linear]", "[weights.linear]\ngroup_sise = 4"
    )
    scripted_toml.write_text(text, encoding="utf-8")
    quick("plan", model, "--target", "scripted", "--profile", scripted_toml.name).fails(
        2, "scripted.toml: unknown key 'weights.linear.group_sise'", "did you mean 'group_size'?"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["plan", "model", "--target", "scripted", "--profile", "scripted.toml"],
        ["export", "model", "--target", "scripted", "--profile", "scripted.toml", "-o", "out"],
        ["profiles", "show", "scripted.toml"],
    ],
    ids=lambda command: str(command[0]),
)
@pytest.mark.usefixtures("model")
def test_a_profile_of_an_unknown_format(
    command: list[str], scripted_toml: Path, quick: QuickCommand
) -> None:
    text = scripted_toml.read_text(encoding="utf-8")
    scripted_toml.write_text(text.replace('"script"', '"scrip"'), encoding="utf-8")
    quick(*command).fails(
        2,
        "profile 'scripted' has the unknown format 'scrip'",
        "fix: did you mean 'script'?",
    )


def test_a_profile_with_an_option_that_its_format_lacks(
    model: Path, scripted_toml: Path, quick: QuickCommand
) -> None:
    with scripted_toml.open("a", encoding="utf-8") as file:
        file.write('\n[graph]\nattention = "plain"\n')
    quick("plan", model, "--target", "scripted", "--profile", scripted_toml.name).fails(
        2, "sets graph.attention, which the format script does not have", "fix: remove graph."
    )


def _export(out: str | Path, *more: str) -> list[str]:
    return ["export", "model", "--target", "scripted", "--profile", "scripted.toml",
            "-o", str(out), *more]  # fmt: skip


@pytest.mark.usefixtures("model", "scripted_toml")
class TestOutput:
    def test_that_exists_needs_force(self, bundle: Path, quick: QuickCommand) -> None:
        before = (bundle / "qdeploy.json").read_bytes()
        quick(*_export(bundle)).fails(2, "bundle: output exists", "--force replaces it")
        assert (bundle / "qdeploy.json").read_bytes() == before
        assert quick(*_export(bundle, "--force")).code == 0

    def test_of_someone_else_is_never_replaced(self, here: Path, quick: QuickCommand) -> None:
        (here / "photos").mkdir()
        (here / "photos" / "cat.jpg").write_bytes(b"cat")
        quick(*_export("photos", "--force")).fails(2, "qdeploy did not write it")
        assert (here / "photos" / "cat.jpg").read_bytes() == b"cat"

    def test_below_a_file_cannot_be_written(self, here: Path, quick: QuickCommand) -> None:
        (here / "file").write_bytes(b"")
        quick(*_export("file/out")).fails(2, "cannot be written", str(here / "file"))

    def test_with_an_impossible_name_cannot_be_written(self, quick: QuickCommand) -> None:
        quick(*_export("o" * 300)).fails(2, "cannot be written")

    @pytest.mark.skipif(
        os.name != "posix" or os.geteuid() == 0, reason="root writes anywhere; Windows has no modes"
    )
    def test_in_a_folder_without_permission(self, here: Path, quick: QuickCommand) -> None:
        (here / "locked").mkdir(mode=0o500)
        quick(*_export("locked/out")).fails(2, "cannot be written (Permission denied)")

    @pytest.mark.parametrize(
        ("fault", "says"), [("full", "the disk is full"), ("crash", "the script ends badly")]
    )
    def test_is_absent_after_a_failure(
        self, fault: str, says: str, here: Path, quick: QuickCommand
    ) -> None:
        (here / "scripted.toml").write_text(profile_text(export=fault))
        quick(*_export("out")).fails(1, f"error: {here}: {says}" if fault == "full" else says)
        assert sorted(p.name for p in here.iterdir()) == ["model", "scripted.toml"]


@pytest.mark.usefixtures("bundle")
class TestAbsentTarget:
    def test_is_exit_code_3_with_reason_and_fix(self, qdeploy: Command) -> None:
        qdeploy("run", "bundle", "hi", "--target", "unscripted").fails(
            3, "error: unscripted: its script is missing", "fix: pip install 'script[writer]'"
        )

    def test_runs_on_its_simulated_device_on_request(self, qdeploy: Command) -> None:
        result = qdeploy("run", "bundle", "hi", "--target", "unscripted", "--simulate")
        assert result.code == 0
        assert "script (simulation)" in result.stderr
        assert "simulated" in result.stderr


def test_a_hub_that_does_not_answer(qdeploy: Command) -> None:
    qdeploy("export", "Qwen/Qwen3-0.6B", "--target", "intel-cpu").fails(
        1, "Qwen/Qwen3-0.6B: the model hub could not be reached", "fix: check HF_ENDPOINT"
    )


@pytest.mark.parametrize("prompt", [b"\xff\xfe", b"caf\xe9"])
def test_a_prompt_that_is_not_text(prompt: bytes, bundle: Path, qdeploy: Command) -> None:
    qdeploy("run", bundle, stdin=prompt).fails(2, "the prompt is not UTF-8 text")


@pytest.mark.skipif(os.name != "posix", reason="arguments are text there")
def test_an_argument_that_is_not_text(bundle: Path, quick: QuickCommand) -> None:
    quick("run", bundle, os.fsdecode(b"caf\xe9")).fails(2, "the prompt is not UTF-8 text")


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_no_standard_input_at_all_is_an_empty_prompt(bundle: Path, qdeploy: Command) -> None:
    """Some services start processes with closed streams."""
    closed = ["sh", "-c", 'exec "$@" <&-', "sh"]
    for prompt, code in (((), 2), (("hi",), 0)):
        done = subprocess.run(
            [*closed, *qdeploy.line("run", bundle, *prompt)], env=qdeploy.environment(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert ("the prompt is empty" in done.stderr) == (code == 2)


class TestInternalErrors:
    @pytest.fixture(autouse=True)
    def _bug(self, model: Path, scripted_toml: Path) -> None:
        scripted_toml.write_text(profile_text(export="bug"))

    def test_are_one_line_and_the_way_to_more(self, qdeploy: Command) -> None:
        result = qdeploy(*_export("out"))
        assert result.code == 1
        assert result.stderr == (
            "internal error: ZeroDivisionError: an unexpected error\n"
            "  qdeploy --debug ... shows where\n"
        )

    def test_show_their_traceback_on_request(self, qdeploy: Command) -> None:
        result = qdeploy("--debug", *_export("out"))
        assert result.code == 1
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.strip().endswith("ZeroDivisionError: an unexpected error")
