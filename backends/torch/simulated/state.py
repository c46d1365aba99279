"""What is known of each simulated device, by its index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from qdeploy.backends.torch.simulated import chips
from qdeploy.backends.torch.simulated.memory import Memory

TYPE = "simulated"
"""The device type. A process can rename PrivateUse1 once, so all vendors share this name."""


@dataclass
class State:
    """A simulated device.

    Attributes:
        chip: what it stands for.
        memory: its storages.
        operators: how often each operator ran on it, by name, as `aten::mm`.
    """

    chip: chips.Chip
    memory: Memory
    operators: Counter[str] = field(default_factory=Counter)


STATES = tuple(
    State(chip, Memory(f"{TYPE}:{index}")) for chip in chips.CHIPS for index in chips.indices(chip)
)
"""A device's index is its place here."""
