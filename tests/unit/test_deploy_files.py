"""`deploy/`: the manifests are valid, safe, and start what the code would start."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qdeploy.cli.serve import command as serve
from qdeploy.engines.vllm.accelerators import accelerator_of
from qdeploy.engines.vllm.nodes import Node, Server
from qdeploy.planning.parallel import Sizes

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
ROOT = Path(__file__).parents[2] / "deploy"
LEADER, SELF = "$(LWS_LEADER_ADDRESS)", "$(POD_IP)"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / name).read_text(encoding="utf-8")))


def templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The templates of the pods that a document makes."""
    spec = document["spec"]
    if document["kind"] == "LeaderWorkerSet":
        return [spec["leaderWorkerTemplate"][f"{role}Template"] for role in ("leader", "worker")]
    return [spec["template"]] if document["kind"] == "Deployment" else []


NAMES = ("kubernetes/one-node.yaml", "kubernetes/two-nodes.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_kubernetes_would_take_it(name: str) -> None:
    """By its own schemas; of a LeaderWorkerSet, which is no type of its own, the pods are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validate = pytest.importorskip(
            "kubernetes_validate", reason="kubernetes-validate is not installed"
        ).validate
    for document in documents(name):
        if document["kind"] != "LeaderWorkerSet":
            validate(document, "1.31", strict=True)
        for template in templates(document):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
            validate({**pod, "spec": template["spec"]}, "1.31", strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_pods_have_few_rights_and_enough_memory_to_share(name: str) -> None:
    for template in (t for document in documents(name) for t in templates(document)):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in spec["volumes"]}
            gpus = "nvidia.com/gpu" in container["resources"]["limits"]
            assert gpus == ("shm" in mounted)


def test_two_nodes_run_the_commands_of_the_code() -> None:
    group, _ = documents("kubernetes/two-nodes.yaml")
    assert group["spec"]["leaderWorkerTemplate"]["size"] == 2
    server = Server(
        (Node(LEADER, "eth0"), Node(SELF, "eth0")),
        Sizes(tensor=8, pipeline=2, expert=True),
        accelerator_of("cuda"),
        "python3",
        "/bundle",
        8000,
        listen="0.0.0.0",  # noqa: S104
        flags=(
            "--served-model-name", "Qwen3-235B-A22B", "--dtype", "bfloat16",
            "--max-model-len", "32768", "--max-num-batched-tokens", "8192",
        ),
    )  # fmt: skip
    for template, member in zip(templates(group), server.members(), strict=True):
        [container] = template["spec"]["containers"]
        assert tuple(container["command"]) == member.command
        assert set(member.environment) <= {variable["name"] for variable in container["env"]}


def test_probes_ask_the_routes_that_there_are() -> None:
    deployment, _ = documents("kubernetes/one-node.yaml")
    [container] = templates(deployment)[0]["spec"]["containers"]
    probes = {p: container[p]["httpGet"]["path"] for p in ("livenessProbe", "readinessProbe")}
    assert probes == {"livenessProbe": "/health", "readinessProbe": "/ready"}


def test_one_machine_has_few_rights_and_a_check() -> None:
    [composed] = documents("compose.yaml")
    service = composed["services"]["qdeploy"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "/ready" in service["healthcheck"]["test"][-1]


def test_the_arguments_of_qdeploy_are_known_to_it() -> None:
    """Parsing stops at the bundle, which is not here: options that are unknown are told before."""
    [composed] = documents("compose.yaml")
    deployment, _ = documents("kubernetes/one-node.yaml")
    container = templates(deployment)[0]["spec"]["containers"][0]
    for arguments in (composed["services"]["qdeploy"]["command"], container["args"]):
        assert arguments[0] == "serve"
        done = CliRunner().invoke(serve, [*arguments[1:], "--help"])
        assert done.exit_code == 0, done.output
        with serve.make_context("serve", arguments[1:]) as context:
            assert context.params["model"] == "/bundle"
