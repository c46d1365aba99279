"""`qdeploy eval`: figures of real bundles, the gate's exit code, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from qdeploy import models
from qdeploy.backends.openvino.isa import limited_properties
from qdeploy.planning.profile import profile_source
from qdeploy.results import read_results
from tests.support.checkpoints import SMALL, write_checkpoint
from tests.support.command import Command, QuickCommand
from tests.support.real import NEEDS_RUNTIME
from tests.support.scripted import WEIGHTS

QUICK = ("--windows", "2", "--heldout", "0")
FLOAT32 = """
[runtime.properties]
INFERENCE_PRECISION_HINT = "f32"
KV_CACHE_PRECISION = "f32"
"""


def export(command: Command, folder: str, changes: str = "", model: str = "qwen3-nano") -> None:
    text = profile_source("cpu-int4-openvino").replace("[quality]", f"{changes}\n[quality]")
    (command.folder / "it.toml").write_text(text, encoding="utf-8")
    arguments = ("--target", "cpu", "--profile", "it.toml", "-o", folder)
    done = command("export", model, *arguments)
    assert done.code == 0, done.stderr


def computes_in_bf16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU by default."""
    import openvino

    capable = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return capable and not limited_properties(os.environ)


@NEEDS_RUNTIME
@pytest.mark.slow
class TestForReal:
    def test_figures_go_to_stdout_and_into_a_file_of_results(self, qdeploy: Command) -> None:
        export(qdeploy, "int4")
        arguments = ("eval", "int4", "--reference", "qwen3-nano", "--heldout", "2")
        done = qdeploy(*arguments, "--windows", "2", "-o", "all.json")
        assert done.code == 0, done.stderr
        for words in ("KL divergence", "0.2", "evidence: device, ran on CPU", "held-out, thinking"):
            assert words in done.stdout
        assert re.search(r"KL divergence, mean .* 0\.0\d+ \(0\.0\d+ to 0\.\d+\)", done.stdout)
        assert re.search(r"^ prose +0\.0\d+ \(.* to .*\) .*ok", done.stdout, re.MULTILINE)
        assert done.stderr == ""

        again = qdeploy(*arguments, "--text", "tasks", "--windows", "1", "--json", "-o", "all.json")
        [figures] = again.json["results"]
        assert figures["kl"]["mean"] < 0.05
        assert figures["top1_agreement"] > 0.9
        assert figures["reference_perplexity"] < 1.5
        assert figures["first_divergence"] > 0
        assert set(figures["exact_match"]) == {"thinking", "answer"}
        assert figures["environment"]["evidence"] == "device"
        assert figures["reference"]["name"] == "qwen3-nano"
        found = read_results(qdeploy.folder / "all.json").results
        assert [r.text["name"] for r in found if r.kind == "eval"] == ["prose", "tasks", "tasks"]
        [entry] = qdeploy("cache", "--json").json["entries"]
        assert entry["name"].startswith("qwen3-nano-")

    def test_over_a_limit_is_exit_code_4_with_figure_value_and_limit(
        self, qdeploy: Command
    ) -> None:
        export(qdeploy, "int4")
        limits = ("--max-kl", "1e-9", "--min-top1", "1", "--text", "prose", "--json")
        done = qdeploy("eval", "int4", "--reference", "qwen3-nano", *QUICK, *limits)
        assert done.code == 4
        for words in ("on prose, mean KL divergence 0.0", "at most 1e-09", "top-1 agreement 0."):
            assert words in done.stderr
        [figures] = done.json["results"]
        assert qdeploy.reports(done) == 1
        assert len(figures["failures"]) == 2
        assert figures["thresholds"]["max_kl_mean"] == 1e-9

    def test_two_bundles_of_the_same_codes_agree(self, qdeploy: Command) -> None:
        export(qdeploy, "usual")
        export(qdeploy, "exact", FLOAT32)
        done = qdeploy("eval", "exact", "usual", *QUICK, "--json")
        assert done.code == 0, done.stderr
        for figures in done.json["results"]:
            assert figures["reference"]["kind"] == "bundle"
            assert figures["reference"]["codes"] == "the same"
            assert figures["kl"]["mean"] < figures["thresholds"]["max_kl_mean"] < 0.01
            # without bf16 both bundles compute in float32, and agree exactly
            assert (figures["kl"]["mean"] > 0) == computes_in_bf16()
        over = qdeploy("eval", "exact", "usual", *QUICK, "--text", "prose", "--max-kl", "1e-9")
        assert over.code == (4 if computes_in_bf16() else 0), over.stderr
        assert "codes:    the same" in over.stdout

    def test_an_adapter_has_to_be_named(self, qdeploy: Command) -> None:
        from tests.exporters.test_variants import write_adapter
        from tests.support import tiny

        config = tiny.DENSE | {"max_position_embeddings": 512}
        model = tiny.write(qdeploy.folder / "tiny", config)
        write_adapter(qdeploy.folder / "tuned", tiny.draw(config))
        where = ("--target", "cpu", "--backend", "openvino")
        done = qdeploy("export", model, *where, "--adapter", "tuned", "-o", "out")
        assert done.code == 0, done.stderr
        arguments = ("eval", "out", "--reference", "tiny", *QUICK, "--text", "prose")
        qdeploy(*arguments).fails(2, "has the adapter 'tuned'", "--adapter DIR")
        with_it = qdeploy(*arguments, "--adapter", "tuned", "--max-kl", "9", "--json")
        without = qdeploy(*arguments, "--allow-other-model", "--json")
        near, far = (r.json["results"][0]["kl"]["mean"] for r in (with_it, without))
        assert near < far / 2


def refused(here: Path) -> None:
    """Write bad files beside a bundle of the scripted target and its model."""
    shutil.copytree(models.path("qwen3-nano"), here / "nano")
    write_checkpoint(here / "wide", SMALL | {"vocab_size": 4096})
    (here / "empty.txt").write_text("")
    (here / "latin.txt").write_bytes(b"caf\xe9")
    (here / "results.json").write_text(json.dumps({"schema_version": 9}))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bundle"], ["give either --reference MODEL or a second bundle"]),
        (["bundle", "bundle", "--reference", "nano"], ["give either --reference"]),
        (["bundle", "bundle", "--adapter", "nano"], ["--adapter goes with --reference"]),
        (["nowhere", "--reference", "nano"], ["no such bundle directory"]),
        (["nano", "--reference", "nano"], ["no qdeploy.json in it"]),
        (["bundle", "nowhere"], ["no such bundle directory"]),
        (["bundle", "--reference", "qwen3-nono"], ["did you mean 'qwen3-nano'?"]),
        (
            ["bundle", "--reference", "nano"],
            ["not the checkpoint that the bundle was made from", "--allow-other-model"],
        ),
        (["bundle", "--reference", "wide", "--allow-other-model"], ["a vocabulary of 4096"]),
        (["bundle", "--reference", "qwen3-nano-moe"], ["Qwen3MoeForCausalLM", "was made from"]),
        (["bundle", "--reference", "nano", "--text", "empty.txt"], ["a text of 0 tokens"]),
        (["bundle", "--reference", "nano", "--text", "latin.txt"], ["not UTF-8 text"]),
        (["bundle", "--reference", "nano", "--text", "nowhere.txt"], ["cannot be read"]),
        (["bundle", "--reference", "nano", "-o", "results.json"], ["schema version 9"]),
        (["bundle", "--reference", "nano", "--device", "7"], ["there is no device 7"]),
        (["bundle", "--reference", "nano", "--max-kl", "0"], ["--max-kl"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
@pytest.mark.usefixtures("bundle")
def test_what_does_not_fit_is_refused(
    arguments: list[str], says: list[str], here: Path, quick: QuickCommand
) -> None:
    refused(here)
    quick("eval", *arguments).fails(2, *says)


def test_a_bundle_that_fails_verify(bundle: Path, quick: QuickCommand) -> None:
    (bundle / WEIGHTS).write_bytes(b"half and hell")
    quick("eval", bundle, "--reference", "qwen3-nano").fails(4, "corrupted bundle", WEIGHTS)


def test_a_target_that_is_not_here(bundle: Path, quick: QuickCommand) -> None:
    quick("eval", bundle, "--reference", "qwen3-nano", "--target", "unscripted").fails(
        3, "its script is missing", "pip install"
    )


def test_a_runtime_whose_logits_are_of_another_shape(bundle: Path, quick: QuickCommand) -> None:
    options = ("--allow-other-model", "--windows", "1", "--window", "16")
    quick("eval", bundle, "--reference", "qwen3-nano", *options).fails(1, "the runtime's logits")


def test_bundles_of_different_checkpoints(bundle: Path, here: Path, quick: QuickCommand) -> None:
    from tests.support.bundles import scripted_bundle
    from tests.support.tiny import DENSE, write

    write(here / "another", DENSE)
    scripted_bundle(here / "other", here / "another", answer="x")
    quick("eval", bundle, "other").fails(2, "different checkpoints", "--allow-other-model")
