"""vLLM on two nodes, really run: tensor parallel 2 over two addresses of this machine, on its CPU.

It shows that commands, placement and failures are as documented, and nothing of speed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import cast

import pytest

import qdeploy
from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.engines.child_session import ChildSession
from qdeploy.engines.vllm import environment
from qdeploy.errors import GenerationFailed, TargetUnavailable
from qdeploy.interface import Request
from qdeploy.system.descendants import descendants
from qdeploy.targets import Evidence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="vLLM runs on Linux, and so does /proc"),
]
SECOND = "127.0.0.2"
QUESTION, RIGHT = "What is 12 + 30?", "42"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """qwen3-nano in floats; skipped where vLLM is not installed."""
    try:
        environment.find("cpu")
    except TargetUnavailable as absent:
        pytest.skip(absent.reason)
    folder = tmp_path_factory.mktemp("nodes") / "nano"
    qdeploy.export("qwen3-nano", target="cpu", profile="cpu-fp16-vllm", output=folder)
    return folder


def own_address() -> str:
    """An address of this machine that is not loopback's: Ray's head takes no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # which sends nothing
        except OSError:
            pytest.skip("this machine has loopback only")
        return str(probe.getsockname()[0])


def load(bundle: Path, nodes: str, way: str) -> ChatModel:
    asked: dict[str, str | int | float | bool] = {
        "nodes": nodes, "nodes_by": way, "tensor_parallel": 2
    }  # fmt: skip
    model = qdeploy.load(bundle, backend="vllm", simulate=True, context=512, properties=asked)
    return cast(ChatModel, model)


def ask(model: ChatModel) -> str:
    return model.chat(QUESTION, thinking=True, temperature=0, max_new_tokens=200).text


def command_lines(ancestor: int) -> dict[int, str]:
    """Of the descendants of a process."""
    found = {}
    for pid in descendants(ancestor):
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return found


def test_ray_spreads_a_model_over_two_nodes_and_survives_the_loss_of_one(bundle: Path) -> None:
    if not environment.find("cpu").has_ray:
        pytest.skip("vLLM's environment has no Ray: qdeploy engine install vllm --ray")
    first = own_address()
    with load(bundle, f"{first},{SECOND}", "ray") as model:
        assert ask(model) == RIGHT
        assert model.placement.evidence == Evidence.SIMULATED
        assert [device.split(":")[0] for device in model.placement.devices] == [first, SECOND]
        session = cast(ChildSession, model.session)
        supervisor = session.child.pid
        assert supervisor is not None
        raylets = [
            pid
            for pid, line in command_lines(supervisor).items()
            if "/raylet/raylet" in line and f"--node_ip_address={SECOND}" in line
        ]
        assert len(raylets) == 1
        prompt = tuple(model.tokenizer.encode("1 + 1 = "))
        answer = session.generate(Request(prompt_ids=prompt, max_new_tokens=400))
        next(answer)
        os.kill(raylets[0], signal.SIGKILL)
        with pytest.raises(GenerationFailed, match="while it was generating"):
            for _ in answer:
                pass
        assert ask(model) == RIGHT
        assert session.child.pid != supervisor


def test_two_nodes_without_ray(bundle: Path) -> None:
    with load(bundle, f"127.0.0.1,{SECOND}", "plain") as model:
        assert ask(model) == RIGHT
        session = cast(ChildSession, model.session)
        supervisor = session.child.pid
        assert supervisor is not None
        lines = command_lines(supervisor)
        assert any("--headless" in line for line in lines.values())
    assert not any(Path(f"/proc/{pid}").exists() for pid in lines)
