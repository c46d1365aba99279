"""`Decoder`: a loaded model that feeds tokens, and keeps what they leave in its cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.architectures.graph import GraphConfig
from qdeploy.backends.torch.engine.cache import Cache
from qdeploy.backends.torch.engine.passes import Local, Pass
from qdeploy.backends.torch.engine.program import Program
from qdeploy.backends.torch.kernels.base import Layer
from qdeploy.planning.pass_memory import SCORED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensor = Any


class Decoder:
    """Decodes one sequence at a time: `begin`, then `feed` its tokens in any number of passes.

    Args:
        devices: of each layer, as torch writes them.
        context: most tokens of a sequence.
        chunk: most tokens of a pass.
        dtype: torch's type of activations.
    """

    def __init__(
        self,
        program: Program,
        head: Layer,
        cache: Cache,
        config: GraphConfig,
        devices: Sequence[str],
        *,
        context: int,
        chunk: int,
        dtype: Any,
    ) -> None:
        import torch

        self._program, self._head, self._cache = program, head, cache
        self._first, self._last = devices[0], devices[-1]
        self._context, self._chunk, self._length = context, chunk, 0
        tables = [torch.from_numpy(t).to(dtype) for t in config.rope.table(context)]
        both = [torch.cat((t, t), -1)[:, None] for t in tables]
        places = dict.fromkeys(devices)
        self._rotation = {place: tuple(t.to(place) for t in both) for place in places}
        positions = torch.arange(context)
        self._positions = {place: positions.to(place) for place in places}

    def begin(self, capacity: int) -> None:
        """Start a new sequence of at most *capacity* tokens."""
        self._cache.reserve(min(capacity, self._context), self._context)
        self._length = 0

    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Append one or more *ids* and return the logits [V] after the last of them."""
        import torch

        with torch.inference_mode():
            logits: NDArray[np.float32] = _on_host(self.forward(self._on_device(ids)))[0]
        return logits

    def forward(self, ids: Tensor) -> Tensor:
        """Append *ids*, int64 [T] on the first device; gives the logits after the last, [1, V].

        It reads no value of a tensor on the host.
        """
        for part in ids.split(self._chunk):
            hidden = self._pass(part)
        return self._head(hidden[-1:])

    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits [T, V] after each of *ids*, as a sequence of its own."""
        import numpy as np
        import torch

        self.begin(len(ids))
        parts = []
        with torch.inference_mode():
            for part in self._on_device(ids).split(self._chunk):
                hidden = self._pass(part)
                parts += [_on_host(self._head(rows)) for rows in hidden.split(SCORED)]
        return np.concatenate(parts)

    def _on_device(self, ids: Sequence[int]) -> Tensor:
        import torch

        return torch.tensor(ids).to(self._first)

    def _pass(self, ids: Tensor) -> Tensor:
        start, length = self._length, len(ids)
        causal = start == 0 and length > 1
        local = {}
        for place, (cos, sin) in self._rotation.items():
            mask = None
            if start and length > 1:
                positions = self._positions[place]
                asked = positions.narrow(0, start, length)
                mask = asked[:, None] >= positions.narrow(0, 0, start + length)
            cos, sin = (table.narrow(0, start, length) for table in (cos, sin))
            local[place] = Local(cos, sin, mask)
        now = Pass(ids, start, length, causal, local)
        hidden = self._program.run(now)
        self._length += length
        return hidden


def _on_host(logits: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = logits.float().cpu().numpy()
    return found
