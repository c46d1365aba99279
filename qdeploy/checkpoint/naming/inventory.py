"""What the files of a checkpoint store, by the names of its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import GraphConfig
from qdeploy.architectures.task import GENERATE
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.naming.find import (
    Found,
    Named,
    find_weights,
    is_float,
    left_over,
    name_tensors,
)
from qdeploy.checkpoint.naming.module_names import TRANSFORMERS_STACKS, ModuleNames
from qdeploy.checkpoint.naming.tying import Tie, is_apart, tied
from qdeploy.checkpoint.schemes import find_scheme
from qdeploy.checkpoint.sources.same import same_values


@dataclass(frozen=True)
class Inventory:
    """The stored tensors of a checkpoint.

    Attributes:
        folder: where the files are.
        tensors: all tensors listed in the headers.
        architecture: the family, and the numbers of its graph; None where they are not known.
    """

    folder: Path
    tensors: tuple[TensorInfo, ...]
    architecture: tuple[Architecture, GraphConfig] | None

    @cached_property
    def names(self) -> ModuleNames | None:
        """Those of the architecture, a head of its own included; None without a graph."""
        if self.architecture is None:
            return None
        family, graph = self.architecture
        untied = replace(graph, tied=False, task=GENERATE)
        own = {} if untied == graph else family.tensors(graph)
        return ModuleNames(family.tensors(untied) | own)

    @cached_property
    def tie(self) -> Tie | None:
        """The embedding and the head that are one weight; None where they are not."""
        if self.architecture is None or not self.architecture[1].tied:
            return None
        family, graph = self.architecture
        names = family.head(graph), family.head(replace(graph, tied=False))
        return Tie(*(name.rpartition(".")[0] for name in names))

    @cached_property
    def named(self) -> Named:
        """The tensors by module.

        Raises:
            CheckpointError: two are one weight, but have different values.
        """
        return name_tensors(self.tensors, self.names, self._same)

    @cached_property
    def wrapped(self) -> str | None:
        """The first stored name that transformers does not know the weight by, or None.

        It knows the names of the table, with and without `model.`, their biases, and its own stacks
        of experts.
        """
        if self.names is None:
            return None
        stacks = {f"{e}.{s}" for e in self.names.experts for s in TRANSFORMERS_STACKS}
        biases = {f"{name.removesuffix('.weight')}.bias" for name in self.names.table}
        known = self.names.table.keys() | stacks | biases
        for module, parts in self.named.modules.items():
            for part, tensor in parts.items():
                name = f"{module}.{part}"
                if name not in known or tensor.name not in (name, name.removeprefix("model.")):
                    return tensor.name
        return None

    def has_its_own_head(self) -> bool:
        """Whether head and embedding differ although they should be tied.

        Raises:
            CheckpointError: a weight file cannot be read.
        """
        return self.tie is not None and is_apart(self.tie, self.named, self._same)

    def find(self, settings: Mapping[str, Any] | None) -> Found:
        """The weights; *settings*: the `quantization_config`, if there is one.

        Raises:
            CheckpointError: they are quantized in a way that cannot be read.
        """
        named = tied(self.tie, self.named) if self.tie else self.named
        if settings and self.names and is_float(named):
            return find_weights(left_over(named, settings), None, self.names)
        scheme = find_scheme(settings, self.folder)
        return find_weights(named, scheme, self.names)

    def _same(self, one: TensorInfo, other: TensorInfo) -> bool:
        return same_values(self.folder, ((one, other),))
