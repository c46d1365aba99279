"""What a format is to the native exporter: one folder beside this file for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from qdeploy.architectures.graph import GraphConfig
from qdeploy.errors import Refusal
from qdeploy.exporters.native.weights_file.layout import WeightsLayout
from qdeploy.exporters.native.weights_file.packing import Encoding
from qdeploy.planning.formats import Format
from qdeploy.planning.plan import Plan


@dataclass(frozen=True)
class ExportLayout:
    """A model whose graph is written and whose weights are laid out.

    Attributes:
        graphs: files of the graph; together they name the layout.
        weights: the files that the weights go to, with the layout of each: several are shards.
    """

    graphs: tuple[Path, ...]
    weights: Mapping[Path, WeightsLayout]


class FormatWriter(ABC):
    """Writes everything of a bundle but the weights, and says where those belong."""

    format: ClassVar[Format]
    tools: ClassVar[tuple[str, ...]] = ()
    """Distributions that it needs besides NumPy; their versions go into the manifest."""
    tables: ClassVar[bool] = False
    """Whether its graphs hold cosine and sine of every position, rather than work them out."""

    @abstractmethod
    def encoding(self, plan: Plan) -> Encoding:
        """How this format lays out the plan's weights."""

    def why_not(self, plan: Plan) -> Refusal | None:
        """Why this format cannot hold the plan, or None if it can. Loads nothing."""
        encoding = self.encoding(plan)
        return next(filter(None, map(encoding.why_not, plan.tensors)), None)

    @abstractmethod
    def write_tokenizer(self, plan: Plan, folder: Path) -> None:
        """Write what the format's runtimes need to tokenize, besides the checkpoint's own files."""

    @abstractmethod
    def write_graph(self, plan: Plan, config: GraphConfig, folder: Path) -> ExportLayout:
        """Write the model's graph."""
