"""What differs by hardware where vLLM runs on several machines: one row a target.

Sources: NCCL's and RCCL's environment variables; Ray's pages of accelerators; vllm-ascend's page
"Ray Distributed" for Ascend; vLLM's `utils/ompmultiprocessing.py` for a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from qdeploy.errors import InputError, did_you_mean

GLOO = "GLOO_SOCKET_IFNAME"
HOST = "VLLM_HOST_IP"


@dataclass(frozen=True)
class Accelerator:
    """A kind of hardware.

    Attributes:
        target: the target that it belongs to.
        interfaces: variables that name the network interface which nodes talk over.
        addresses: variables that hold a node's own address.
        ray_arguments: arguments of `ray start`; `{ranks}` stands for the ranks of a node. Empty
            where Ray counts the devices itself.
        ray_environment: variables of Ray's processes.
        is_simulated: whether ranks run on a CPU, which Ray counts as if each were a device.
    """

    target: str
    interfaces: tuple[str, ...]
    addresses: tuple[str, ...] = (HOST,)
    ray_arguments: tuple[str, ...] = ()
    ray_environment: tuple[tuple[str, str], ...] = ()
    is_simulated: bool = False


NCCL = ("NCCL_SOCKET_IFNAME", GLOO)
"""AMD's and Hygon's RCCL reads the same variables."""
ACCELERATORS = (
    Accelerator("cuda", NCCL),
    Accelerator("rocm", NCCL),
    Accelerator("dcu", NCCL),
    Accelerator(
        "ascend",
        ("HCCL_SOCKET_IFNAME", GLOO, "TP_SOCKET_IFNAME"),
        addresses=(HOST, "HCCL_IF_IP"),
        ray_environment=(("RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES", "1"),),
    ),
    Accelerator(
        "cpu",
        (GLOO,),
        ray_arguments=("--num-cpus={ranks}", "--num-gpus={ranks}"),
        is_simulated=True,
    ),
)


def accelerator_of(target: str) -> Accelerator:
    """The row of a target.

    Raises:
        InputError: vLLM does not run on it, or not on several machines.
    """
    rows = {row.target: row for row in ACCELERATORS}
    if target not in rows:
        raise InputError(
            f"vLLM does not spread a model over machines on the target {target!r}",
            fix=did_you_mean(target, rows),
        )
    return rows[target]
