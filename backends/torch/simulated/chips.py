"""The chips that can be simulated, a row each. Rows hold what decides which calls a chip takes."""

from __future__ import annotations

from dataclasses import dataclass

from qdeploy.errors import InputError, did_you_mean

DEVICES_OF_A_CHIP = 2
"""Enough to split a model, and to notice work on the wrong one."""


@dataclass(frozen=True)
class Chip:
    """A chip that is simulated.

    Attributes:
        name: the word for it, unique.
        target: the target whose devices it stands for.
        architecture: what its kernels are built for, as devices report it: `sm_90`, `gfx942`.
        title: the hardware in a person's words.
        product: what Ascend's documentation of operators calls it; empty for other vendors.
    """

    name: str
    target: str
    architecture: str
    title: str
    product: str = ""

    @property
    def capability(self) -> tuple[int, int]:
        """NVIDIA's compute capability, of a chip that has one."""
        digits = self.architecture.removeprefix("sm_")
        return int(digits[:-1]), int(digits[-1])


CHIPS = (
    Chip("ascend-a2", "ascend", "Ascend910B3", "Ascend Atlas A2 (910B)", "A2"),
    Chip("ascend-a3", "ascend", "Ascend910_9382", "Ascend Atlas A3 (910C)", "A3"),
    Chip("ascend-310p", "ascend", "Ascend310P3", "Ascend Atlas inference (310P)", "310P"),
    Chip("cuda-sm90", "cuda", "sm_90", "NVIDIA Hopper"),
    Chip("cuda-sm89", "cuda", "sm_89", "NVIDIA Ada"),
    Chip("cuda-sm80", "cuda", "sm_80", "NVIDIA Ampere"),
    Chip("cuda-sm75", "cuda", "sm_75", "NVIDIA Turing"),
    Chip("rocm-gfx942", "rocm", "gfx942", "AMD Instinct MI300"),
    Chip("rocm-gfx90a", "rocm", "gfx90a", "AMD Instinct MI200"),
    Chip("rocm-gfx1100", "rocm", "gfx1100", "AMD Radeon RX 7900"),
    Chip("dcu-gfx936", "dcu", "gfx936", "Hygon DCU K100"),
)
"""The first chip of a target is the one that the target's name alone stands for."""


def find(name: str) -> Chip:
    """Return the chip of this name, or a target's first.

    Raises:
        InputError: there is no such chip or target.
    """
    for chip in CHIPS:
        if name in (chip.name, chip.target):
            return chip
    known = [chip.name for chip in CHIPS]
    raise InputError(f"there is no simulated chip {name!r}", fix=did_you_mean(name, known))


def indices(chip: Chip) -> tuple[int, ...]:
    """Device indices that stand for *chip*: the same in every process."""
    first = CHIPS.index(chip) * DEVICES_OF_A_CHIP
    return tuple(range(first, first + DEVICES_OF_A_CHIP))


def of_index(index: int) -> Chip:
    """Return the chip that a device index stands for."""
    return CHIPS[index // DEVICES_OF_A_CHIP]
