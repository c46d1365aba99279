"""The modules of an architecture, found by the names that they are stored under.

Libraries that wrap a model for training put a component into the names of its modules, and some
save the decoder without its head or inside of a larger model. A name is taken for a module where
it is one in the table of the architecture once these are removed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from qdeploy.architectures.tensors import Tensor

WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:"
    r"module|"  # DataParallel, DistributedDataParallel, DeepSpeed
    r"_orig_mod|"  # torch.compile
    r"_fsdp_wrapped_module|_fpw_module|"  # FSDP
    r"_checkpoint_wrapped_module|"  # activation checkpointing
    r"_forward_module|"  # Lightning
    r"base_layer|original_module|modules_to_save\.[^.]+"  # PEFT
    r")(?:\.|$)"
)
"""Components that a wrapper adds anywhere in a name."""
ROOTS = re.compile(
    r"^(?:(?:"
    r"model|"
    r"base_model|"  # PEFT
    r"pretrained_model|"  # TRL
    r"language_model|text_model|llm|"  # models of more than text
    r"policy|actor"  # reinforcement learning
    r")\.)+"
)
"""Components that a name may begin with. Transformers calls the decoder below its head `model`."""
LAYER = re.compile(r"(.+?\.\d+)(?:\.|$)")
EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.")
STACKS = {
    "gate_up_proj": ("gate_proj", "up_proj"),
    "down_proj": ("down_proj",),
    "gate_proj": ("gate_proj",),
    "up_proj": ("up_proj",),
}
"""Weights of all experts of a layer in one tensor, and the weights of an expert in it, in order."""
TRANSFORMERS_STACKS = ("gate_up_proj", "down_proj")
"""Those that transformers 5 has; others hold the same weights in more tensors."""


class ModuleNames:
    """The modules of one architecture.

    Attributes:
        table: the architecture's weights by name.
        experts: the modules that hold the experts of a layer, with how many.
    """

    def __init__(self, table: Mapping[str, Tensor]) -> None:
        self.table = table
        self._modules = {name.rpartition(".")[0] for name in table}
        self._layers = {m[1] for m in map(LAYER.match, self._modules) if m}
        numbered = (m for m in map(EXPERT.match, self._modules) if m)
        self.experts = Counter(place for place, _ in {(m[1], m[2]) for m in numbered})
        self._modules.update(self.experts)
        self._modules.update(f"{place}.{stack}" for place in self.experts for stack in STACKS)

    def find(self, stored: str) -> str | None:
        """The module that is stored under a name, or None for a part of another model."""
        if stored in self._modules:
            return stored
        return next((name for name in _readings(stored) if name in self._modules), None)

    def is_in_a_layer(self, stored: str) -> bool:
        """Whether a name is that of a part of a layer that the architecture has."""
        layers = (LAYER.match(name) for name in _readings(stored))
        return any(m[1] in self._layers for m in layers if m)


def _readings(stored: str) -> Iterator[str]:
    """What a stored name may mean, the name itself first."""
    yield stored
    plain = WRAPPERS.sub("", stored).removesuffix(".")
    rest = ROOTS.sub("", plain)
    yield from (plain, rest, f"model.{rest}")
