"""The simulated devices of a target, as `--simulate` finds them."""

from __future__ import annotations

from qdeploy.backends.torch.simulated import chips
from qdeploy.backends.torch.simulated.device import activate
from qdeploy.backends.torch.simulated.state import TYPE
from qdeploy.errors import InputError
from qdeploy.interface import Device
from qdeploy.system import info
from qdeploy.targets import Evidence, Target

TARGETS = frozenset(chip.target for chip in chips.CHIPS)


def find(target: Target) -> list[Device]:
    """Return the devices of the target's chips, two of each. Imports no torch.

    Raises:
        InputError: there is no chip of the target.
    """
    if target.name not in TARGETS:
        raise InputError(
            f"torch has nothing to simulate {target.name} with",
            fix="leave out --simulate, or choose one of: " + ", ".join(sorted(TARGETS)),
        )
    return [
        Device(
            f"{TYPE}:{index}",
            f"simulated: the CPU in place of {chip.title}",
            target.name,
            info.memory_bytes(),
            evidence=Evidence.SIMULATED,
            architecture=chip.architecture,
        )
        for chip in chips.CHIPS
        if chip.target == target.name
        for index in chips.indices(chip)
    ]


def prepare(device: Device) -> None:
    """Make a simulated device usable in this process. Raises like `device.activate`."""
    activate(chips.of_index(int(device.id.partition(":")[2])).name)
