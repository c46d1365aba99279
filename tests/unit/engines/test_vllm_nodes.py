"""A vLLM server on several machines: its command lines and environments, by hardware."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.engines.vllm.accelerators import ACCELERATORS, accelerator_of
from qdeploy.engines.vllm.nodes import (
    RAY,
    Member,
    Node,
    Server,
    as_shell,
    check_host,
    read_nodes,
    size_flags,
)
from qdeploy.errors import InputError
from qdeploy.planning.parallel import Sizes

NODES = (Node("10.0.0.1", "eth0"), Node("10.0.0.2", "eth0"))
EIGHT_BY_TWO = Sizes(tensor=8, pipeline=2, expert=True)


def server(target: str, **changes: object) -> Server:
    made = {
        "nodes": NODES, "sizes": EIGHT_BY_TWO, "accelerator": accelerator_of(target),
        "python": "/opt/vllm/bin/python", "model": "/models/qwen", "port": 8100,
        "flags": ("--max-model-len", "32768"),
    } | changes  # fmt: skip
    return Server(**made)  # type: ignore[arg-type]


def words(member: Member) -> str:
    return shlex.join(member.command)


def test_two_machines_without_ray() -> None:
    first, second = server("cuda").members()
    serve = (
        "/opt/vllm/bin/python -m vllm.entrypoints.cli.main serve /models/qwen "
        "--max-model-len 32768 --tensor-parallel-size 8 --pipeline-parallel-size 2 "
        "--enable-expert-parallel --nnodes 2 --node-rank {} --master-addr 10.0.0.1 "
        "--master-port 29501 {}"
    )
    assert words(first) == serve.format(0, "--host 127.0.0.1 --port 8100")
    assert words(second) == serve.format(1, "--headless")
    assert [first.host, second.host] == ["10.0.0.1", "10.0.0.2"]
    assert second.environment == {
        "VLLM_HOST_IP": "10.0.0.2", "NCCL_SOCKET_IFNAME": "eth0", "GLOO_SOCKET_IFNAME": "eth0"
    }  # fmt: skip


def test_two_machines_with_ray() -> None:
    head, worker, api = server("cuda", way=RAY).members()
    start = "/opt/vllm/bin/python -m ray.scripts.scripts start"
    assert words(head).startswith(
        f"{start} --head --port=6379 --include-dashboard=false --block "
        "--node-ip-address=10.0.0.1 --node-manager-port=6380"
    )
    assert words(worker).startswith(
        f"{start} --address=10.0.0.1:6379 --block --node-ip-address=10.0.0.2"
    )
    assert "--num-gpus" not in words(head)  # Ray counts them
    assert (head.ready, worker.ready) == (("10.0.0.1", 6380), ("10.0.0.2", 6381))
    assert "--distributed-executor-backend ray" in words(api)
    assert words(api).endswith("--host 127.0.0.1 --port 8100")
    assert api.environment["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert api.host == "10.0.0.1"


@pytest.mark.parametrize(
    ("target", "environment"),
    [
        ("rocm", {"VLLM_HOST_IP": "10.0.0.9", "NCCL_SOCKET_IFNAME": "ib0",
                  "GLOO_SOCKET_IFNAME": "ib0", "HIP_VISIBLE_DEVICES": "0,1"}),
        ("ascend", {"VLLM_HOST_IP": "10.0.0.9", "HCCL_IF_IP": "10.0.0.9",
                    "HCCL_SOCKET_IFNAME": "ib0", "GLOO_SOCKET_IFNAME": "ib0",
                    "TP_SOCKET_IFNAME": "ib0", "ASCEND_RT_VISIBLE_DEVICES": "0,1"}),
        ("cpu", {"VLLM_HOST_IP": "10.0.0.9", "GLOO_SOCKET_IFNAME": "ib0",
                 "VLLM_CPU_OMP_THREADS_BIND": "0-7|8-15"}),
    ],
)  # fmt: skip
def test_environments(target: str, environment: dict[str, str]) -> None:
    threads = "0-7|8-15" if target == "cpu" else None
    node = Node("10.0.0.9", "ib0", (0, 1), threads)
    made = server(target, nodes=(NODES[0], node), sizes=Sizes(tensor=4))
    assert made.members()[1].environment == environment


def test_rays_own_words_by_hardware() -> None:
    ascend, *_ = server("ascend", way=RAY).members()
    assert ascend.environment["RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES"] == "1"
    cpu, *_ = server("cpu", way=RAY, sizes=Sizes(tensor=2)).members()
    assert words(cpu).endswith("--num-cpus=1 --num-gpus=1")


def test_replicas_over_machines() -> None:
    sizes = Sizes(tensor=8, data=2, expert=True)
    assert "--data-parallel-size 2" in words(server("cuda", sizes=sizes).members()[1])
    assert "--data-parallel-backend ray" in words(
        server("cuda", sizes=sizes, way=RAY).members()[-1]
    )


def test_one_rank_needs_no_flags() -> None:
    assert size_flags(Sizes()) == []


def test_ranks_that_nodes_do_not_share_are_refused() -> None:
    with pytest.raises(InputError, match="not the same number on each of 2 nodes"):
        server("cuda", sizes=Sizes(tensor=3)).members()


def test_targets_that_vllm_has_no_nodes_for_are_refused() -> None:
    with pytest.raises(InputError, match="intel-npu"):
        accelerator_of("intel-npu")


@pytest.mark.parametrize("name", ["node-1", "node-1.cluster.local", "10.0.0.1", "fd00::2"])
def test_names_of_hosts(name: str) -> None:
    check_host(name)


@pytest.mark.parametrize(
    "name",
    ["", "-oProxyCommand=id", "a b", "a;id", "$(id)", "user@host", "a\n", "host:22", "a" * 300],
)
def test_what_is_no_name_of_a_host_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no address and no name"):
        check_host(name)


@pytest.mark.parametrize("nodes", ["10.0.0.1", "10.0.0.1,10.0.0.1", ",".join(["h"] * 3)])
def test_nodes_are_two_or_more_different_ones(nodes: str) -> None:
    with pytest.raises(InputError, match="two or more different"):
        read_nodes(nodes)


def test_an_interface_is_a_name() -> None:
    assert read_nodes("a, b", "bond0.12")[1] == Node("b", "bond0.12")
    with pytest.raises(InputError, match="network interface"):
        read_nodes("a,b", "-x")


@given(
    target=st.sampled_from([row.target for row in ACCELERATORS]),
    model=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
)
def test_lines_for_a_shell_are_the_commands(target: str, model: str) -> None:
    for member in server(target, model=model).members():
        read = shlex.split(as_shell(member))
        variables = len(member.environment)
        assert tuple(read[variables:]) == member.command
        assert dict(word.split("=", 1) for word in read[:variables]) == member.environment
