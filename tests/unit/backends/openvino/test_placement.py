"""Reading where the model runs from what openvino-genai prints while loading."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from qdeploy.backends.openvino.placement import (
    VARIABLE,
    execution_devices,
    loading_log,
    prove_placement,
)
from qdeploy.backends.openvino.settings import Settings
from qdeploy.errors import PlacementError
from qdeploy.targets import Evidence

PRINTED = """\
Model: OV Tokenizer
  EXECUTION_DEVICES: CPU
EXECUTION_DEVICES:
 CPU: a CPU
SchedulerConfig {
  cache_size: 0
  cache_interval_multiplier: unset
 }
Model: {title}
  NETWORK_NAME: Model0
  EXECUTION_DEVICES: {devices}
  RUNTIME_REQUIREMENTS: meta=1.0
EXECUTION_DEVICES:
 {devices}: a name
"""


def log(devices: str, title: str = "LLM with Paged Attention") -> str:
    return PRINTED.replace("{title}", title).replace("{devices}", devices)


def settings(device: str, evidence: Evidence = Evidence.DEVICE) -> Settings:
    return Settings(
        device, evidence, {"INFERENCE_NUM_THREADS": 2}, None, context=10, prompt_limit=9
    )


@pytest.mark.parametrize(
    ("asked", "said"), [("CPU", "CPU"), ("GPU.1", "GPU.1"), ("GPU.0", "GPU"), ("NPU", "NPU")]
)
def test_the_device_asked_for_is_proven(asked: str, said: str) -> None:
    found = prove_placement(log(said), settings(asked), "a name")
    assert found.devices == (asked,)
    assert found.evidence is Evidence.DEVICE
    assert "'LLM with Paged Attention'" in found.proof


@pytest.mark.parametrize("said", ["CPU", "GPU.0 CPU", "GPU.1", "AUTO"])
def test_another_device_is_an_error(said: str) -> None:
    with pytest.raises(PlacementError, match=r"asked for GPU\.0"):
        prove_placement(log(said), settings("GPU.0"), "a name")


def test_the_tokenizers_device_proves_nothing() -> None:
    with pytest.raises(PlacementError, match="did not print"):
        prove_placement(log("CPU", title="OV Detokenizer"), settings("CPU"), "a name")


def test_silence_is_an_error() -> None:
    with pytest.raises(PlacementError, match="did not print"):
        prove_placement("", settings("CPU"), "a name")


def test_the_simulated_npu_is_named_whatever_the_runtime_calls_it() -> None:
    said = log("NPU", title="Stateful LLM model")
    found = prove_placement(said, settings("NPU", Evidence.SIMULATED), "simulated NPU")
    assert found.devices == ("simulated NPU",)
    assert found.evidence is Evidence.SIMULATED
    assert "NPUW_DEVICES=CPU" in found.proof
    assert found.threads == 2


def test_a_cpu_of_another_vendor_is_named_with_the_threads_it_computes_on() -> None:
    said = log("CPU") + "  INFERENCE_NUM_THREADS: 3\n"
    found = prove_placement(said, settings("CPU", Evidence.SIMULATED), "simulated: a CPU")
    assert (found.devices, found.evidence) == (("simulated: a CPU",), Evidence.SIMULATED)
    assert "another vendor" in found.proof
    assert found.threads == 3


def test_what_the_runtime_prints_is_caught_and_what_others_print_arrives(capfd: Any) -> None:
    runtimes = f"{log('CPU')}[INFO] of this level\n"
    others = ["a word: of another thread\n", "42%\r100%\n", "no end"]
    print("before")
    with loading_log() as caught:
        assert os.environ[VARIABLE] == "2"
        os.write(1, others[0].encode())
        for line in runtimes.splitlines(keepends=True):
            os.write(1, line.encode())
        os.write(1, others[1].encode() + b"\xff\n" + others[2].encode())
    print("after")
    sys.stdout.flush()
    assert execution_devices(caught[0]) == ("LLM with Paged Attention", ("CPU",))
    printed = capfd.readouterr()
    assert printed.out == "before\nafter\n"
    assert printed.err == f"{others[0]}{others[1]}\ufffd\n{others[2]}"


@pytest.mark.skipif(sys.platform == "win32", reason="closes stdout by a shell")
def test_a_closed_stdout_is_no_obstacle() -> None:
    program = (
        "import os, sys\n"
        "from qdeploy.backends.openvino.placement import loading_log\n"
        "with loading_log() as caught: os.write(1, b'EXECUTION_DEVICES:\\n')\n"
        "os.write(1, b'to nobody')\n"
        "sys.stderr.write(repr(caught))"
    )
    close = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", program]
    done = subprocess.run(close, check=True, capture_output=True, text=True)
    assert done.stderr == repr(["EXECUTION_DEVICES:\n"])


@pytest.mark.parametrize("before", [None, "4"])
def test_the_log_level_is_put_back_even_after_an_error(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, before)
    with pytest.raises(ZeroDivisionError), loading_log():
        raise ZeroDivisionError
    assert os.environ.get(VARIABLE) == before
