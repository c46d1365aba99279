"""`FormatWriter`: what the native exporter needs of a bundle format, one subfolder each."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from qdeploy.architectures.graph import GraphConfig
from qdeploy.checkpoint.sources.codes import REQUANTIZE
from qdeploy.errors import Refusal
from qdeploy.exporters.native.weights_file.layout import FileLayout
from qdeploy.exporters.native.weights_file.packing import Encoding
from qdeploy.planning.formats import Format
from qdeploy.planning.plan import Plan
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import DType

NUMBER = re.compile(r"\.experts\.\d+\.")


@dataclass(frozen=True)
class ExportLayout:
    """A model whose graph is written and whose weights are laid out.

    Attributes:
        graphs: files of the graph; their content identifies the layout.
        weights: the weights files with the layout of each; more than one are shards.
    """

    graphs: tuple[Path, ...]
    weights: Mapping[Path, FileLayout]


class FormatWriter(ABC):
    """Writes all files of a bundle except the weights, and lays out the weights."""

    format: ClassVar[Format]
    tools: ClassVar[tuple[str, ...]] = ()
    """Distributions that it needs in addition to NumPy; the manifest records their versions."""
    dtypes: ClassVar[tuple[DType, ...]] = ("int4", "int8", "fp16")
    """Element types of weights that it stores."""
    tables: ClassVar[bool] = False
    """Whether its graphs store the cosine and sine of every position instead of computing them."""

    @abstractmethod
    def why_not(self, plan: Plan) -> Refusal | None:
        """Why this format cannot hold the plan, or None if it can. Loads nothing."""

    def config_changes(self, plan: Plan) -> Mapping[str, Any]:
        """See `Exporter.config_changes`."""
        return {}

    @abstractmethod
    def write_tokenizer(self, plan: Plan, folder: Path) -> None:
        """Write the tokenizer files of the format's runtimes that the checkpoint does not have."""

    @abstractmethod
    def write_graph(self, plan: Plan, config: GraphConfig, folder: Path) -> ExportLayout:
        """Write the model's graph, where the format has one, and lay the weights out."""


class GraphWriter(FormatWriter):
    """A format whose models are graphs over weights that are all packed in one way."""

    mixes_experts: ClassVar[bool] = True
    """Whether a projection can be of another form in one expert of a layer than in the others."""

    @abstractmethod
    def encoding(self, plan: Plan) -> Encoding:
        """How this format packs the plan's weights."""

    def why_not(self, plan: Plan) -> Refusal | None:
        encoding = self.encoding(plan)
        if not self.mixes_experts and (one := mixed_expert(plan.tensors)):
            return Refusal(
                f"{one.name} and those of other experts are stored in several forms, and its graph "
                "multiplies by all of them at once",
                REQUANTIZE,
            )
        return next(filter(None, map(encoding.why_not, plan.tensors)), None)


def mixed_expert(tensors: Iterable[TensorPlan]) -> TensorPlan | None:
    """A projection of an expert whose form is not that of the layer's first expert, or None."""
    forms: dict[str, tuple[object, object]] = {}
    for t in tensors:
        form = (t.precision, t.scales)
        if t.expert and forms.setdefault(NUMBER.sub(".experts.", t.name), form) != form:
            return t
    return None
