"""A platform plugin of vLLM: ranks on CPUs that Ray counts as devices.

vLLM asks Ray for devices of the platform's kind, and has none for CPUs ("current platform cpu does
not support ray"). Here each rank counts as one of Ray's GPUs, of which a node has as many as
`ray start --num-gpus` says. So many nodes can be tried where no GPU is; no more than a simulation.

It runs in vLLM's environment, alone: `overlay` puts it there.
"""

from __future__ import annotations

from typing import Any

PLATFORM = "RayCpuPlatform"


def register() -> str:
    """What the entry point `vllm.platform_plugins` asks for."""
    return f"{__name__}.{PLATFORM}"


def __getattr__(name: str) -> type:
    """The class, made when it is asked for: this module is imported while vLLM has no platform."""
    if name != PLATFORM:
        raise AttributeError(name)
    from vllm.platforms.cpu import CpuPlatform

    def as_it_is(cls: type, device: str | int) -> int:
        return int(device)

    members: dict[str, Any] = {
        "ray_device_key": "GPU",
        "device_control_env_var": "CUDA_VISIBLE_DEVICES",
        "device_control_id_to_physical_device_id": classmethod(as_it_is),
        "__module__": __name__,
    }
    made: type = type(PLATFORM, (CpuPlatform,), members)
    globals()[PLATFORM] = made
    return made
