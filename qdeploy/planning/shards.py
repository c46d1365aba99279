"""Bytes of a model's weights on each rank, and where a cut would divide the scales of a group.

Key-value heads are repeated where there are more ranks than heads. With expert parallelism each
rank has whole experts, else a part of every expert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from qdeploy.architectures.tensors import layer_of
from qdeploy.planning.cuts import EXPERTS, Cut, find_cuts
from qdeploy.planning.device_memory import Model
from qdeploy.planning.formats import Storage, stored_bytes
from qdeploy.quantization.precision import PER_CHANNEL, Precision, ScaleType

VOCABULARY_STEP = 64
"""vLLM pads the vocabulary to a multiple of this before it cuts (`vocab_parallel_embedding.py`)."""


class Ways(NamedTuple):
    """Among how many ranks weights are cut.

    Attributes:
        tensor: ranks that share a layer.
        experts: ranks that share the experts of a layer: those of all replicas.
        spread: whether each has whole experts.
    """

    tensor: int
    experts: int
    spread: bool


class Form(NamedTuple):
    """What decides how many bytes of a weight a rank has; *shape* is [N, K] or [N]."""

    cut: Cut
    shape: tuple[int, ...]
    precision: Precision


@dataclass(frozen=True)
class Shards:
    """The weights of a model, cut.

    Attributes:
        model: whose weights.
    """

    model: Model

    @cached_property
    def _layers(self) -> Mapping[int, tuple[tuple[Form, int], ...]]:
        """The forms of each layer's weights, and how many weights have each."""
        cuts = find_cuts(self.model)
        found: dict[int, Counter[Form]] = {}
        for name, held in self.model.weights.items():
            if (layer := layer_of(name)) is not None:
                form = Form(cuts.get(name, Cut.WHOLE), held.shape, held.precision)
                found.setdefault(layer, Counter())[form] += 1
        return {layer: tuple(forms.items()) for layer, forms in found.items()}

    @cached_property
    def _ends(self) -> list[tuple[str, Form]]:
        """Roles and forms of the weights that belong to no layer."""
        cuts = find_cuts(self.model)
        rest = ((n, w) for n, w in self.model.weights.items() if layer_of(n) is None)
        return [(w.role, Form(cuts.get(name, Cut.WHOLE), w.shape, w.precision)) for name, w in rest]

    @cached_property
    def _forms(self) -> list[Form]:
        """Every form of a layer's weight, once."""
        return list(dict.fromkeys(form for forms in self._layers.values() for form, _ in forms))

    def layer_bytes(self, ways: Ways) -> list[int]:
        """Bytes of every layer on the rank that has most of it."""
        found: dict[tuple[tuple[Form, int], ...], int] = {}
        sizes = []
        for layer in range(self.model.layers):
            forms = self._layers[layer]
            if forms not in found:
                found[forms] = sum(self._bytes(form, count, ways) for form, count in forms)
            sizes.append(found[forms])
        return sizes

    def ends_bytes(self, ways: Ways, *, first: bool, last: bool) -> int:
        """Bytes of the embedding, if *first*; of the last norm and the head, if *last*.

        A tied head is the embedding, which a last stage that is not the first holds again.
        """
        tied = self.model.config.tied
        return sum(
            self._bytes(form, 1, ways)
            for role, form in self._ends
            if (first or (last and tied) if role == "embedding" else last)
        )

    def _bytes(self, form: Form, count: int, ways: Ways) -> int:
        scale: ScaleType = "float32" if form.precision.dtype == "fp8" else "float16"
        storage = Storage(matrix=self.model.float_bytes).with_scales(scale)
        if form.cut in EXPERTS and ways.spread:
            count = -(-count // ways.experts)
        return count * stored_bytes(self._part(form, ways), form.precision, storage)

    def _part(self, form: Form, ways: Ways) -> tuple[int, ...]:
        """The largest part of a weight's shape that a rank holds."""
        rows, *columns = form.shape
        cut, kv_heads = form.cut, self.model.config.kv_heads
        if cut in EXPERTS and ways.spread:
            return form.shape
        if cut is Cut.ROWS:
            rows = -(-rows // ways.tensor)
        elif cut is Cut.EXPERT_ROWS:
            rows = -(-rows // ways.experts)
        elif cut is Cut.KEY_VALUE:
            rows = rows // kv_heads * kv_heads_of_rank(kv_heads, ways.tensor)
        elif cut is Cut.VOCABULARY:
            rows = -(-padded(rows) // ways.tensor)
        elif cut in (Cut.COLUMNS, Cut.EXPERT_COLUMNS):
            among = ways.tensor if cut is Cut.COLUMNS else ways.experts
            columns = [-(-columns[0] // among)]
        return (rows, *columns)

    def broken_group(self, ways: Ways) -> str | None:
        """The first weight whose groups of scales the cut would divide, in words; None for none.

        Groups lie along K; blocks of FP8 along N, too. Sources, of vLLM:
        `compressed_tensors_moe_wna16.py`, `marlin_utils.py`, `fp8_utils.py`.
        """
        for form in self._forms:
            group, part = form.precision.group_size, self._part(form, ways)
            if group == PER_CHANNEL:
                continue
            axes = (1, 0) if form.precision.dtype == "fp8" else (1,)
            for axis in axes:
                if part[axis] != form.shape[axis] and part[axis] % group:
                    experts = form.cut in EXPERTS
                    return (
                        f"{ways.experts if experts else ways.tensor} ranks would have "
                        f"{part[axis]} of the {form.shape[axis]} {('rows', 'columns')[axis]} of "
                        f"{'an expert' if experts else 'a layer'} each, which is no multiple of "
                        f"the {group} that share a scale"
                    )
        return None


def kv_heads_of_rank(kv_heads: int, tensor: int) -> int:
    """Key-value heads that a rank holds: one at least, which others then hold, too."""
    return max(1, kv_heads // tensor)


def padded(vocabulary: int) -> int:
    """Rows of an embedding after padding."""
    return -(-vocabulary // VOCABULARY_STEP) * VOCABULARY_STEP
