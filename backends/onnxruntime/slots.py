"""Key-value caches of several sequences, which go through one graph together.

Each sequence has a slot: a row of every cache. `GroupQueryAttention` takes rows of different
lengths and writes new keys and values in place, so rows that lie side by side are one pass without
a copy. Slots keep what they hold after a request has ended: a prompt that begins the same takes it
over, from a slot that is free, or as a copy.

The memory is the host's: rows are addressed by pointer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.onnxruntime.decoder import DTYPES, caches, present
from qdeploy.backends.onnxruntime.dynamic_decoder import generating_graph
from qdeploy.backends.onnxruntime.inference_session import open_session
from qdeploy.backends.onnxruntime.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROOM = 1024
"""Tokens that the first caches have room for; they grow to twice their size."""

SHORTEST_PASS = 2
"""Tokens of a prompt in one pass. One alone is multiplied by another kernel, with other rounding,
and a prompt should give the same logits whether or not a part of it was in the cache."""


@dataclass
class Slot:
    """One sequence's place.

    Attributes:
        row: of the caches. It changes when rows are exchanged.
        tokens: those whose keys and values the row holds.
        taken: a request uses it.
        used: when a request last took it, as a number that grows.
    """

    row: int
    tokens: list[int] = field(default_factory=list)
    taken: bool = False
    used: int = 0


class Slots:
    """The generating graph and its caches, [rows, kv heads, capacity, D] each."""

    def __init__(self, folder: Path, settings: Settings, rows: int) -> None:
        import numpy as np

        self.session = open_session(folder / generating_graph(folder), settings)
        self._vocabulary, self._context = settings.vocabulary, settings.context
        (logits,) = (o for o in self.session.get_outputs() if o.name == "logits")
        self._floats = np.dtype(DTYPES[logits.type])
        self._slots = [Slot(row) for row in range(rows)]
        self._capacity = min(ROOM, self._context)
        self._caches: dict[str, NDArray[Any]] = {
            i.name: np.zeros((rows, i.shape[1], self._capacity, i.shape[3]), DTYPES[i.type])
            for i in caches(self.session)
        }
        self._bindings: dict[tuple[int, int], Any] = {}
        self._clock = 0

    def take(self, prompt: Sequence[int]) -> Slot:
        """Return a free slot that holds as much of the *prompt* as any does.

        At least two of its tokens are left to be fed: see `SHORTEST_PASS`.
        """
        longest = max(0, len(prompt) - SHORTEST_PASS)
        reuse = {id(s): min(common(s.tokens, prompt), longest) for s in self._slots}
        source = max(self._slots, key=lambda s: (reuse[id(s)], not s.taken))
        kept = reuse[id(source)]
        free = [slot for slot in self._slots if not slot.taken]
        if source.taken or 2 * kept < len(source.tokens):  # its own text may be continued yet
            chosen = min(free, key=lambda s: (s is source and kept > 0, s.used))
        else:
            chosen = source
        if chosen is not source:
            for cache in self._caches.values():
                cache[chosen.row, :, :kept] = cache[source.row, :, :kept]
            chosen.tokens = source.tokens[:kept]
        del chosen.tokens[kept:]
        self._clock += 1
        chosen.taken, chosen.used = True, self._clock
        return chosen

    def release(self, slot: Slot, *, forget: bool = False) -> None:
        """Give a slot back; *forget* what it holds where a pass failed."""
        slot.taken = False
        if forget:
            slot.tokens.clear()

    def feed(self, slot: Slot, ids: Sequence[int]) -> NDArray[np.float32]:
        """Append *ids* to one sequence; returns the logits [V] after the last of them."""
        import numpy as np

        self._make_room(len(slot.tokens) + len(ids))
        (logits,) = self._pass([slot], np.array([ids], np.int64))
        slot.tokens += ids
        return logits

    def step(self, tokens: Sequence[tuple[Slot, int]]) -> list[NDArray[np.float32]]:
        """Append a token to each of several sequences; returns the logits [V] after each."""
        import numpy as np

        self._make_room(1 + max(len(slot.tokens) for slot, _ in tokens))
        self._bring_together([slot for slot, _ in tokens])
        ordered = sorted(tokens, key=lambda pair: pair[0].row)
        ids = np.array([[token] for _, token in ordered], np.int64)
        logits = self._pass([slot for slot, _ in ordered], ids)
        for slot, token in ordered:
            slot.tokens.append(token)
        first = ordered[0][0].row
        return [logits[slot.row - first] for slot, _ in tokens]

    def _pass(self, slots: Sequence[Slot], ids: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Run the graph on new tokens [B, L] of adjacent rows; returns the logits [V] of each."""
        import numpy as np

        rows, new = ids.shape
        lengths = np.array([len(slot.tokens) + new for slot in slots])
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
        logits = np.empty((rows, 1, self._vocabulary), self._floats)
        binding = self._binding(slots[0].row, rows)
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", mask)
        binding.bind_output("logits", "cpu", 0, self._floats, logits.shape, logits.ctypes.data)
        self.session.run_with_iobinding(binding)
        return list(logits[:, 0].astype(np.float32, copy=False))

    def _binding(self, first: int, rows: int) -> Any:
        """Return a binding of *rows* adjacent rows of the caches, as inputs and outputs."""
        if (first, rows) not in self._bindings:
            binding = self.session.io_binding()
            for name, cache in self._caches.items():
                part = cache[first : first + rows]
                where = ("cpu", 0, part.dtype, part.shape, part.ctypes.data)
                binding.bind_input(name, *where)
                binding.bind_output(present(name), *where)
            self._bindings[first, rows] = binding
        return self._bindings[first, rows]

    def _make_room(self, tokens: int) -> None:
        """Replace the caches by larger ones if a row has to hold more *tokens* than they do.

        Where memory runs out on the way, those that are larger already do as well as the others.
        """
        import numpy as np

        if tokens <= self._capacity:
            return
        capacity = min(self._context, max(tokens, 2 * self._capacity))
        self._bindings.clear()
        for name, old in self._caches.items():
            rows, heads, _, size = old.shape
            new = np.zeros((rows, heads, capacity, size), old.dtype)
            for slot in self._slots:
                held = len(slot.tokens)
                new[slot.row, :, :held] = old[slot.row, :, :held]
            self._caches[name] = new
        self._capacity = capacity

    def _bring_together(self, slots: Sequence[Slot]) -> None:
        """Exchange rows until those of *slots* are adjacent, with as few exchanges as can be."""
        rows, count = {slot.row for slot in slots}, len(slots)
        starts = range(len(self._slots) - count + 1)
        first = max(starts, key=lambda start: len(rows & set(range(start, start + count))))
        wanted = set(range(first, first + count))
        by_row = {slot.row: slot for slot in self._slots}
        for outer, inner in zip(sorted(rows - wanted), sorted(wanted - rows), strict=True):
            self._exchange(by_row[outer], by_row[inner])

    def _exchange(self, one: Slot, other: Slot) -> None:
        held = max(len(one.tokens), len(other.tokens))
        for cache in self._caches.values():
            part = cache[one.row, :, :held].copy()
            cache[one.row, :, :held] = cache[other.row, :, :held]
            cache[other.row, :, :held] = part
        one.row, other.row = other.row, one.row


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with that are the same, by bisection."""
    one, other = list(one), list(other)
    same, most = 0, min(len(one), len(other))
    while same < most:
        middle = (same + most + 1) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            most = middle - 1
    return same
