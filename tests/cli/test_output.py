"""Text and JSON go to stdout, the rest to stderr, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from qdeploy.bundle import open_bundle
from qdeploy.planning.profile import load_profile, profile_names
from tests.support.command import Command, QuickCommand

EXPORT = ["export", "model", "--target", "scripted", "--profile", "scripted.toml"]
LONG = "o" * (220 if os.name == "posix" else 60)
NINE = "cpu intel-cpu intel-gpu intel-npu cuda rocm dcu ascend webgpu".split()


def everything_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.usefixtures("bundle", "model", "scripted_toml")
class TestJson:
    @pytest.mark.parametrize(
        ("arguments", "keys"),
        [
            ([*EXPORT, "-o", "out"], "path digest bundle_bytes predicted_bundle_bytes target"),
            (
                [*EXPORT, "--dry-run"],
                "by_precision peak_export_memory_bytes longest_context device device_memory",
            ),
            (["plan", *EXPORT[1:]], "by_precision kv_bytes_per_token context exporter forecasts"),
            (["plan", "8B", "--device", "H20"], "model parameters forecasts"),
            (["run", "bundle", "hi"], "text thinking finish_reason placement evidence ttft_ms"),
            (["targets"], "targets"),
            (["profiles"], "profiles"),
            (["profiles", "show", "intel-cpu-int4"], "schema weights kv_cache why"),
            (["verify", "bundle"], "ok files bytes digest"),
            (["cache"], "root bytes entries"),
        ],
        ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
    )
    def test_is_one_object_and_nothing_else(
        self, arguments: list[str], keys: str, qdeploy: Command
    ) -> None:
        result = qdeploy(*arguments, "--json")
        assert result.code == 0, result.stderr
        assert result.stderr == ""
        assert set(keys.split()) <= result.json.keys()

    def test_of_a_run_keeps_thinking_and_answer_apart(self, quick: QuickCommand) -> None:
        result = quick("run", "bundle", "2 + 2?", "--seed", "1", "--json").json
        assert (result["text"], result["thinking"]) == ("4 汉🚀", "Two and two.")
        assert (result["finish_reason"], result["target"]) == ("stop", "scripted")
        assert (result["backend"], result["evidence"]) == ("scripted", "device")
        assert result["placement"]["devices"] == ["SCRIPT"]
        assert result["placement"]["proof"]
        assert result["new_tokens"] > 0

    def test_of_a_simulated_device_says_so(self, quick: QuickCommand) -> None:
        result = quick("run", "bundle", "hi", "--target", "unscripted", "--simulate", "--json").json
        assert result["evidence"] == "simulated"
        assert "script (simulation)" in result["device"]

    def test_is_not_printed_on_failure(self, quick: QuickCommand) -> None:
        quick("run", "bundle", "hi", "--target", "unscripted", "--json").fails(
            3, "its script is missing"
        )


@pytest.mark.usefixtures("bundle")
class TestRun:
    def test_prints_the_answer_and_nothing_else(self, qdeploy: Command) -> None:
        result = qdeploy("run", "bundle", "2 + 2?")
        assert (result.code, result.stdout) == (0, "4 汉🚀\n")

    def test_shows_thinking_and_statistics_beside_it(self, quick: QuickCommand) -> None:
        error = quick("run", "bundle", "2 + 2?").stderr
        thinking, statistics = error.split("\n\n")
        assert thinking == "Two and two."
        assert statistics.startswith("scripted · scripted · script 0 (ran on SCRIPT)")
        for figure in ("prompt +", "new tokens", "TTFT", "tok/s"):
            assert figure in statistics
        assert statistics.count("\n") == 1

    def test_writes_no_colours_into_a_pipe(self, qdeploy: Command) -> None:
        result = qdeploy("run", "bundle", "2 + 2?")
        assert "\x1b" not in result.stdout + result.stderr

    @pytest.mark.parametrize("prompt", [[], ["-"]])
    def test_reads_the_prompt_from_stdin(self, prompt: list[str], quick: QuickCommand) -> None:
        result = quick("run", "bundle", *prompt, stdin="2 + 2?\n汉字\n")
        assert (result.code, result.stdout) == (0, "4 汉🚀\n")

    def test_says_where_the_length_limit_cut(self, quick: QuickCommand) -> None:
        result = quick("run", "bundle", "2 + 2?", "--max-new-tokens", "3")
        assert "cut at the length limit" in result.stderr

    def test_ends_thinking_at_its_budget(self, quick: QuickCommand) -> None:
        result = quick("run", "bundle", "2 + 2?", "--thinking-budget", "1", "--json").json
        assert "Considering the limited time" in result["thinking"]

    @pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
    def test_survives_a_stdout_that_cannot_take_every_character(
        self, encoding: str, qdeploy: Command
    ) -> None:
        """A pipe on Windows, or LANG=C: characters are replaced, and the answer is printed."""
        result = qdeploy("run", "bundle", "2 + 2?", PYTHONIOENCODING=encoding)
        assert (result.code, result.stdout[:2]) == (0, "4 ")
        as_json = qdeploy("run", "bundle", "2 + 2?", "--json", PYTHONIOENCODING=encoding)
        assert as_json.json["text"] == "4 汉🚀"


@pytest.mark.usefixtures("model", "scripted_toml")
class TestExport:
    def test_makes_a_bundle_and_says_what_is_next(self, here: Path, qdeploy: Command) -> None:
        result = qdeploy(*EXPORT, "-o", "out")
        assert (result.code, result.stdout) == (0, "")
        assert "next: qdeploy run out" in result.stderr
        assert open_bundle(here / "out", full=True).manifest.model.name == "model"

    def test_shows_no_progress_where_there_is_no_terminal(self, qdeploy: Command) -> None:
        error = qdeploy(*EXPORT, "-o", "out").stderr
        assert "following the script" not in error
        assert "\r" not in error
        assert "\x1b" not in error

    def test_names_the_folder_after_model_and_profile(
        self, here: Path, quick: QuickCommand
    ) -> None:
        assert quick(*EXPORT).code == 0
        assert (here / "model-scripted" / "qdeploy.json").is_file()

    def test_dry_run_writes_nothing(self, here: Path, qdeploy: Command) -> None:
        before = everything_in(here.parent)
        result = qdeploy(*EXPORT, "-o", "out", "--dry-run")
        assert result.code == 0
        assert everything_in(here.parent) == before

    def test_dry_run_is_the_plan(self, quick: QuickCommand) -> None:
        dry = quick(*EXPORT, "--dry-run")
        plan = quick("plan", *EXPORT[1:])
        assert plan.code == 0
        assert plan.stdout.startswith(dry.stdout.rstrip())
        for words in ("fp16", "head_dim 128", "predicted peak", "tokens on script 0"):
            assert words in dry.stdout

    @pytest.mark.parametrize("name", ["out[v2]", "out[/b]", "[red]out", LONG])
    def test_shows_any_name_as_it_is(self, name: str, here: Path, quick: QuickCommand) -> None:
        result = quick(*EXPORT, "-o", name)
        assert result.code == 0, result.stderr
        assert f"next: qdeploy run {Path(name)}\n" in result.stderr
        assert (here / name).is_dir()

    def test_of_a_model_of_any_name(self, here: Path, quick: QuickCommand) -> None:
        (here / "model").rename(here / "a[b]c")
        result = quick("plan", "a[b]c", *EXPORT[2:])
        assert result.code == 0, result.stderr
        assert "a[b]c (Qwen3ForCausalLM" in result.stdout


class TestTargets:
    def test_lists_every_target_with_its_reason_and_fix_where_absent(
        self, qdeploy: Command
    ) -> None:
        rows = qdeploy("targets", "--json").json["targets"]
        assert list(dict.fromkeys(row["target"] for row in rows)) == [
            *NINE, "endpoint", "scripted", "unscripted",
        ]  # fmt: skip
        for row in rows:
            if row["device"]:
                assert row["evidence"] == "device"
            else:
                assert row["evidence"] == "none"
                assert row["reason"]
                assert row["fix"]

    def test_the_table_shows_reasons_and_fixes_as_they_are(self, quick: QuickCommand) -> None:
        result = quick("targets")
        assert [name for name in NINE if name not in result.stdout] == []
        assert "its script is missing" in result.stdout
        assert "pip install 'script[writer]'" in result.stdout


class TestProfiles:
    def test_lists_every_profile_with_its_reason(self, quick: QuickCommand) -> None:
        table = quick("profiles").stdout
        for name in profile_names():
            assert name in table
            assert load_profile(name).why in table

    def test_shows_a_profile_ready_to_be_copied(self, here: Path, quick: QuickCommand) -> None:
        shown = quick("profiles", "show", "intel-npu-int4").stdout
        (here / "mine.toml").write_text(shown, encoding="utf-8")
        mine = quick("profiles", "show", "mine.toml", "--json").json
        shipped = quick("profiles", "show", "intel-npu-int4", "--json").json
        assert mine == shipped | {"name": "mine"}


class TestVerify:
    def test_says_how_much_is_as_it_was(self, bundle: Path, quick: QuickCommand) -> None:
        result = quick("verify", bundle)
        count = len(open_bundle(bundle).manifest.files)
        assert (result.code, result.stderr) == (0, "")
        assert f"{count} files" in result.stdout


class TestCache:
    def test_lists_and_clears(self, bundle: Path, quick: QuickCommand) -> None:
        assert "0 entries" in quick("cache").stdout
        store = Path(quick("cache", "--json").json["root"]) / "bundles"
        store.mkdir(parents=True)
        bundle.rename(store / "one[x]-scripted-0123")
        listed = quick("cache").stdout
        assert "one[x]-scripted-0123" in listed
        assert "1 entries" in listed or "1 entry" in listed
        assert "removed 1" in quick("cache", "clear", "one[x]-scripted-0123").stderr
        assert json.loads(quick("cache", "--json").stdout)["entries"] == []


def test_a_reader_that_leaves_early_is_no_error_to_speak_of(qdeploy: Command) -> None:
    """As in `qdeploy profiles show X | head -1`."""
    process = subprocess.Popen(
        qdeploy.line("profiles", "--json"), cwd=qdeploy.folder, env=qdeploy.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate(timeout=60)
    assert error == b""


COMMANDS = [
    ["run", "bundle", "hi"],
    ["run", "bundle", "hi", "--json"],
    [*EXPORT, "--dry-run", "--json"],
    ["targets", "--json"],
    ["profiles"],
    ["--version"],
]


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.usefixtures("bundle", "model", "scripted_toml")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
class TestStdout:
    def redirected(self, where: str, arguments: list[str], qdeploy: Command) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {where}', "sh", *qdeploy.line(*arguments)],
            cwd=qdeploy.folder, env=qdeploy.environment(), capture_output=True, text=True,
            encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.stdout == ""
        return done.returncode, done.stderr

    def test_may_be_closed(self, arguments: list[str], qdeploy: Command) -> None:
        """Some services start processes with closed streams."""
        code, error = self.redirected(">&-", arguments, qdeploy)
        assert (code, "error" in error) == (0, False), error
        assert self.redirected(">&- 2>&-", arguments, qdeploy) == (0, "")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
    def test_may_be_full(self, arguments: list[str], qdeploy: Command) -> None:
        code, error = self.redirected("> /dev/full", arguments, qdeploy)
        assert code == 1
        says = "error: the output has no room (No space left on device)\n  fix: free space"
        assert says in error
        assert "internal" not in error
        assert "Exception" not in error
