"""The tensors of an adapter, brought together by the modules of the model that they change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from qdeploy.architectures.config import ModelConfig
from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.adapters.names import Part, candidates, find_module, parse
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import FLOATS

EXPERT = re.compile(r"(?P<stack>.+\.experts)\.\d+\.gate_proj\.weight")
LORA: tuple[Part, ...] = (
    "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector",
)  # fmt: skip
EMBEDDING: tuple[Part, ...] = ("lora_embedding_A", "lora_embedding_B")
NESTED = ".base_layer"
"""PEFT wraps a module that has several adapted parameters once for each, the last outermost."""


OTHER_METHOD = "merge it with the library that trained it, and give the result as the model"
ONE = "save one of them: model.save_pretrained(FOLDER, selected_adapters=[NAME])"
AGAIN = "save the adapter again with PEFT's save_pretrained, and take all of its files"


class Misfit(Exception):
    """An adapter does not fit the model, or is not whole.

    Attributes:
        problem: what differs, as the end of a sentence.
        fix: what helps; None where another model does.
    """

    def __init__(self, problem: str, fix: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.fix = problem, fix


class Model(NamedTuple):
    """A model that an adapter is merged into.

    Attributes:
        name: the checkpoint's.
        folder: the directory on disk.
        config: the parts of its `config.json` that are used.
        sources: of its weights. An lm_head that is tied to the embedding, or that its task does not
            need, is not among them.
        described: what each weight does.
        head: name of the lm_head's weight, there or not.
        tied: whether the embedding is the lm_head.
    """

    name: str
    folder: Path
    config: ModelConfig
    sources: Mapping[str, Source]
    described: Mapping[str, Tensor]
    head: str
    tied: bool

    @property
    def embedding(self) -> str | None:
        """Name of the embedding's weight; None where there is none."""
        roles = ((name, self.described[name].role) for name in self.sources)
        return next((name for name, role in roles if role == "embedding"), None)

    def stacks(self) -> dict[str, int]:
        """Number of experts by the name of the module that holds them."""
        counts: dict[str, int] = {}
        for match in filter(None, map(EXPERT.fullmatch, self.sources)):
            counts[match["stack"]] = counts.get(match["stack"], 0) + 1
        return counts


@dataclass(frozen=True)
class Parts:
    """The tensors of one module.

    Attributes:
        module: its name in the model.
        names: all names by which the adapter's config may mean it.
        tensors: by what they are.
    """

    module: str
    names: tuple[str, ...]
    tensors: dict[Part, TensorInfo] = field(default_factory=dict)

    @property
    def weight(self) -> str:
        """Name of the module's weight."""
        return f"{self.module}.weight"

    @property
    def is_lora(self) -> bool:
        return any(part in self.tensors for part in LORA)

    @property
    def of_embedding(self) -> bool:
        """Whether the low-rank update is stored as PEFT does it for an embedding."""
        return any(part in self.tensors for part in EMBEDDING)

    def need(self, part: Part, shape: tuple[int, ...]) -> TensorInfo:
        """The tensor that is *part* of the module.

        Raises:
            Misfit: there is none, or it has another shape.
        """
        found = self.tensors.get(part)
        if found is None:
            raise Misfit(f"{part} of {self.module!r} is missing", AGAIN)
        if found.shape != shape:
            raise Misfit(f"{found.name!r} is {list(found.shape)}, not {list(shape)}")
        return found


class Grouped(NamedTuple):
    """The tensors of an adapter.

    Attributes:
        parts: by module, and how deep in wrappers of it; by name.
        dropped: why a tensor is not read, by its name.
    """

    parts: list[Parts]
    dropped: dict[str, str]


def group(tensors: Iterable[TensorInfo], model: Model) -> Grouped:
    """Bring the tensors of an adapter together.

    Raises:
        Misfit: one is none of an adapter's, or of no module of the model; there are several
            adapters.
    """
    head, _, _ = model.head.rpartition(".")
    modules = {name.rpartition(".")[0] for name in model.sources} | {head} | model.stacks().keys()
    parts: dict[tuple[str, int], Parts] = {}
    dropped: dict[str, str] = {}
    adapters: set[str | None] = set()
    for tensor in tensors:
        if (found := parse(tensor.name)) is None:
            raise Misfit(f"{tensor.name!r} is no tensor of a LoRA adapter", OTHER_METHOD)
        if found.part == "not read":
            dropped[tensor.name] = "PEFT's copy of what the module was before training"
            continue
        if tensor.dtype not in FLOATS:
            readable = ", ".join(FLOATS)
            raise Misfit(f"{tensor.name!r} is {tensor.dtype}; readable are {readable}", AGAIN)
        stored = found.module.removesuffix(NESTED) if found.part in LORA else found.module
        depth = found.module != stored
        module = find_module(stored, modules)
        if module is None:
            raise Misfit(f"the model has no module {stored!r}, of which there is {tensor.name!r}")
        if module == head and model.head not in model.sources and not model.tied:
            dropped[tensor.name] = "the model's task needs no lm_head"
            continue
        if found.part in (*LORA, "trainable_tokens_delta"):
            adapters.add(found.adapter)
        names = tuple(dict.fromkeys((*candidates(stored), module)))
        of_module = parts.setdefault((module, depth), Parts(module, names))
        if other := of_module.tensors.get(found.part):
            raise Misfit(f"{other.name!r} and {tensor.name!r} are for one place", AGAIN)
        of_module.tensors[found.part] = tensor
    if len(adapters) > 1:
        named = ", ".join(sorted(repr(name or "") for name in adapters))
        raise Misfit(f"there are tensors of several adapters: {named}", ONE)
    return Grouped([parts[key] for key in sorted(parts)], dropped)
