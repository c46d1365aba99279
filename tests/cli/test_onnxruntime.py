"""`qdeploy run` on ONNX Runtime: refusals, and warnings of operators that run elsewhere."""

from __future__ import annotations

import json
import secrets
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from qdeploy.bundle import open_bundle
from qdeploy.cli import run_cli
from qdeploy.deploy import run
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Request
from tests.support.real import NEEDS_INTEL_PROVIDER, qdeploy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs qdeploy[onnx]"),
]
SUM, ANSWER = "What is 4826 + 735?", "5561"
LENGTH = 21
"""Tokens of that prompt in the chat template."""
FUSED = """\
schema = 1
target = "intel-cpu"
format = "onnx"
why = "Experts in a form that OpenVINO's provider does not take."
[weights]
linear = { dtype = "int8", symmetric = true, group_size = 128 }
embedding = { dtype = "int8", group_size = 128 }
lm_head = { dtype = "int8", group_size = 128 }
[graph]
attention = "plain"
experts = "fused"
[kv_cache]
dtype = "fp32"
"""


def exported(folder: Path, model: str, target: str, *more: str) -> str:
    done = qdeploy("export", model, "--target", target, "-o", str(folder), *more)
    assert done.returncode == 0, done.stderr
    return str(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return exported(tmp_path_factory.mktemp("cpu") / "bundle", "qwen3-nano", "cpu")


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ascend") / "bundle"
    return exported(folder, "qwen3-nano", "ascend", "--context", "512")


def fails(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for words in says:
        assert words in done.stderr


def test_a_sum_on_any_cpu(bundle: str) -> None:
    done = qdeploy("run", bundle, SUM, "--think", "--seed", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert (result["text"], result["backend"], result["evidence"]) == (
        ANSWER, "onnxruntime", "device"
    )  # fmt: skip
    assert result["placement"]["nodes"].keys() == {"CPUExecutionProvider"}


def test_without_a_seed_any_that_is_drawn_will_do(
    bundle: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The largest seed that a run without --seed may draw."""
    monkeypatch.setattr(secrets, "randbelow", lambda limit: limit - 1)
    code = run_cli(["run", bundle, SUM, "--max-new-tokens", "3"])
    assert code == 0, capsys.readouterr().err


def test_a_simulated_device_says_so(static: str) -> None:
    absent = qdeploy("run", static, SUM)
    if absent.returncode == 0:
        pytest.skip("this machine has an Ascend NPU")
    fails(absent, 3, "no Ascend NPU found", "--simulate")
    done = qdeploy("run", static, SUM, "--think", "--seed", "1", "--simulate", "--json")
    result = json.loads(done.stdout)
    assert (result["text"], result["evidence"]) == (ANSWER, "simulated")
    assert "simulated" in result["device"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [("ascend", "CANN takes ONNX's own operators only"), ("rocm", "MIGraphX compiles anew")],
)
def test_a_bundle_of_the_wrong_format_is_refused(bundle: str, target: str, reason: str) -> None:
    done = qdeploy("run", bundle, SUM, "--target", target, "--simulate")
    fails(done, 2, reason, f"--target {target}")


def test_a_context_longer_than_the_static_graph_is_refused(static: str) -> None:
    done = qdeploy("run", static, SUM, "--simulate", "--context", "513")
    fails(done, 2, "takes 1 to 512", "--context")
    fails(qdeploy("run", static, "apple " * 600, "--simulate"), 2, "512")


def test_a_context_of_two_holds_a_prompt_of_one(bundle: str, static: str) -> None:
    """Such a session loads, and the user's prompt is what is too long."""
    for folder, more in ((bundle, ()), (static, ("--simulate",))):
        fails(qdeploy("run", folder, SUM, "--context", "2", *more), 2, f"{LENGTH} tokens")
        opened = open_bundle(Path(folder))
        choice = run.choose(opened, simulate=bool(more))
        with run.load(opened, choice, context=2) as session:
            assert len(list(session.generate(Request((1,), 9)))) == 1


def test_scoring_is_refused_while_an_answer_is_made(static: str) -> None:
    """Both use the one cache of a static graph, so the answer would continue another text."""
    opened = open_bundle(Path(static))
    request = Request((5, 6, 7), 12)
    with run.load(opened, run.choose(opened, simulate=True)) as session:
        expected = [token.id for token in session.generate(request)]
        stream = session.generate(request)
        made = [next(stream).id for _ in range(4)]
        with pytest.raises(GenerationFailed, match="still generating"):
            session.score((1, 2))
        assert [*made, *(token.id for token in stream)] == expected
        assert len(session.score((1, 2))) == 2


def test_nothing_is_left_in_the_home_folder(bundle: str, tmp_path: Path) -> None:
    """The runtimes' telemetry would keep a database there."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = qdeploy("run", bundle, SUM, "--max-new-tokens", "2", QDEPLOY_CACHE_DIR="", **home)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("left", [None, 5000])
def test_weights_that_are_missing_or_cut_short_are_a_failed_check(
    tmp_path: Path, left: int | None
) -> None:
    folder = Path(exported(tmp_path / "bundle", "qwen3-nano", "cpu"))
    weights = folder / "model.onnx.data"
    if left is None:
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:left])
    fails(qdeploy("run", str(folder), SUM), 4, "model.onnx.data")


@NEEDS_INTEL_PROVIDER
def test_work_that_goes_elsewhere_is_an_error_unless_allowed(tmp_path: Path) -> None:
    """OpenVINO's provider really leaves QMoE to the CPU."""
    (tmp_path / "fused.toml").write_text(FUSED)
    more = ("--profile", str(tmp_path / "fused.toml"))
    bundle = exported(tmp_path / "bundle", "qwen3-nano-moe", "intel-cpu", *more)
    refused = qdeploy("run", bundle, SUM)
    fails(refused, 1, "QMoE", "CPUExecutionProvider", "--allow-fallback")
    done = qdeploy("run", bundle, SUM, "--no-think", "--seed", "1", "--allow-fallback", "--json")
    assert done.returncode == 0, done.stderr
    assert "warning: heavy operators that run elsewhere" in done.stderr
    placement = json.loads(done.stdout)["placement"]
    assert placement["devices"] == ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    assert len(placement["fallback"]) == 4
    assert all("QMoE" in text for text in placement["fallback"])
