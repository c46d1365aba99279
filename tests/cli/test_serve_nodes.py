"""`qdeploy serve --nodes`: what each machine has to run, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import QuickCommand
from tests.support.real import qdeploy as real_qdeploy

TWO = ("--nodes", "10.0.0.1,10.0.0.2", "--port", "0")
GPUS = ("--node-devices", "2x80GB")


@pytest.fixture(scope="module")
def for_vllm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """qwen3-nano in the format that vLLM loads."""
    folder = tmp_path_factory.mktemp("vllm") / "nano"
    real_qdeploy(
        "export", "qwen3-nano", "--target", "cuda", "--profile", "cuda-int4", "-o", str(folder)
    )
    return folder


@pytest.fixture(autouse=True)
def no_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """These need none, and shall not find one."""
    monkeypatch.delenv("QDEPLOY_VLLM_PYTHON", raising=False)
    monkeypatch.setenv("QDEPLOY_ENGINES_DIR", str(tmp_path / "engines"))


def test_commands_are_printed_and_nothing_is_started(for_vllm: Path, quick: QuickCommand) -> None:
    result = quick("serve", for_vllm, *TWO, *GPUS, "--interface", "ib0", "--print-commands")
    assert result.code == 0, result.stderr
    who, first, whom, second = result.stdout.splitlines()
    assert who.startswith("# 10.0.0.1:")
    assert whom.startswith("# 10.0.0.2:")
    for words in (
        "NCCL_SOCKET_IFNAME=ib0",
        f" serve {for_vllm} ",
        "--tensor-parallel-size 2 --pipeline-parallel-size 2 --nnodes 2",
    ):
        assert words in first
        assert words in second
    assert "--host 127.0.0.1" in first
    assert second.endswith("--headless")


def test_sizes_and_ray_are_options(for_vllm: Path, quick: QuickCommand) -> None:
    result = quick("serve", for_vllm, *TWO, "--node-devices", "1x24GB", "--tensor-parallel", "2",
                   "--nodes-by", "ray", "--print-commands")  # fmt: skip
    assert result.code == 0, result.stderr
    head, worker, api = result.stdout.splitlines()[1::2]
    assert " start --head " in head
    assert " start --address=10.0.0.1:6379 " in worker
    assert "--tensor-parallel-size 2 --distributed-executor-backend ray" in api


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--nodes", "-oProxyCommand=id,b", *GPUS), ["no address and no name of a machine"]),
        (("--nodes", "a", *GPUS), ["two or more different machines"]),
        ((*TWO, *GPUS, "--interface", "-x"), ["no name of a network interface"]),
        ((*TWO, *GPUS, "--tensor-parallel", "3"), ["does not use 4 devices", "fix: --tensor"]),
        ((*TWO, "--node-devices", "2x2GB"), ["a rank of layers", "can be planned for"]),
        ((*TWO, "--node-devices", "many"), ["is no number of devices"]),
        (("--ssh",), ["need --nodes"]),
    ],
)
def test_refusals(
    arguments: tuple[str, ...], words: list[str], for_vllm: Path, quick: QuickCommand
) -> None:
    result = quick("serve", for_vllm, *arguments, "--print-commands")
    assert result.code in (1, 2)
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr


def test_bundles_of_other_formats_are_refused(nano_bundle: Path, quick: QuickCommand) -> None:
    result = quick("serve", nano_bundle, *TWO, "--target", "cuda", *GPUS, "--print-commands")
    assert result.code == 2
    assert "does not load the format" in result.stderr
