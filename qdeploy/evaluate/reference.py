"""References that a bundle is compared with: the float checkpoint, or another bundle.

The cache on disk holds the checkpoint's hidden states before the head, float32 [T, H] a passage,
not its logits, [T, V]. They are exact, take a hundredth of the size of float16 logits at
Qwen3-0.6B's shape, and give the logits by one product (docs/quality.md has the measurements).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from qdeploy.architectures.config import RopeScaling
from qdeploy.bundle import Bundle
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.weights import check_weights, open_weights
from qdeploy.deploy import cache
from qdeploy.forward.forward import Forward
from qdeploy.interface import Session
from qdeploy.storage.atomic import write_file
from qdeploy.storage.hashing import data_sha256

if TYPE_CHECKING:
    from typing_extensions import Self

Floats = NDArray[np.float32]
Ids = tuple[int, ...]
Count = Callable[[int, int], None]
"""Called with the number of steps that are done, and of all."""

ARITHMETIC = 1
"""Version of the numbers of `forward`, part of the cache key: raise it when they change."""


class Reference(ABC):
    """A model whose logits a bundle is compared with.

    Attributes:
        name: for messages and results.
        digest: SHA-256 of its content.
        kind: `checkpoint` or `bundle`.
    """

    name: str
    digest: str
    kind: str

    def prepare(self, passages: Sequence[Ids], progress: Count) -> None:  # noqa: B027
        """Compute ahead what is cheaper for all passages together."""

    @abstractmethod
    def logits(self, ids: Ids, start: int = 0) -> Floats:
        """Teacher-forced logits, float32 [T - start, V], of a passage that was prepared.

        Rows before *start* are omitted.
        """

    def close(self) -> None:  # noqa: B027
        """Close files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BundleReference(Reference):
    """Another bundle, loaded."""

    kind = "bundle"

    def __init__(self, bundle: Bundle, session: Session) -> None:
        self.name = f"{bundle.manifest.model.name} ({bundle.path.name})"
        self.digest = bundle.digest
        self._session = session

    def logits(self, ids: Ids, start: int = 0) -> Floats:
        return self._session.score(ids)[start:]


class FloatReference(Reference):
    """A checkpoint in float32, computed layer by layer by `forward`."""

    kind = "checkpoint"

    def __init__(
        self,
        checkpoint: Checkpoint,
        digest: str,
        *,
        rope_scaling: RopeScaling | None = None,
    ) -> None:
        """Open the weights of *checkpoint*.

        Args:
            checkpoint: of a known architecture, with the adapter that the bundle was made with.
            digest: of the checkpoint and the adapter, as a plan states it.
            rope_scaling: how positions are scaled for the bundle's context.

        Raises:
            CheckpointError: an unknown architecture, or weights that its config does not ask for.
            InputError: the adapter does not fit.
        """
        check_weights(checkpoint)
        self.name, self.digest = checkpoint.name, digest
        self._source = open_weights(checkpoint)
        self._forward = Forward(
            self._source, checkpoint.architecture, checkpoint.graph(rope_scaling)
        )
        self._kept: dict[Ids, Floats] = {}
        self.folder = cache.reference_path(checkpoint.name, digest, rope_scaling, ARITHMETIC)

    def prepare(self, passages: Sequence[Ids], progress: Count) -> None:
        """Compute the hidden states of passages that are neither in memory nor in the cache."""
        for ids in passages:
            if ids not in self._kept and (known := self._read(ids)) is not None:
                self._kept[ids] = known
        missing = [ids for ids in dict.fromkeys(passages) if ids not in self._kept]
        if not missing:
            return
        for ids, hidden in zip(missing, self._forward.hidden(missing, progress), strict=True):
            self._kept[ids] = hidden
            self._write(ids, hidden)

    def logits(self, ids: Ids, start: int = 0) -> Floats:
        return self._forward.logits(self._kept[ids][start:])

    def vectors(self, sequences: Sequence[Ids], progress: Count) -> Floats:
        """What an encoder gives for each sequence, float32 [B, width]; see `Encoder.encode`."""
        self.prepare(sequences, progress)
        return self._forward.pooled([self._kept[ids][-1] for ids in sequences])

    def close(self) -> None:
        self._source.close()

    def _file(self, ids: Ids) -> Path:
        return self.folder / f"{data_sha256(*ids)[:32]}.safetensors"

    def _read(self, ids: Ids) -> Floats | None:
        """The cached hidden states, or None where there is no readable file."""
        try:
            found = load_file(self._file(ids))
            hidden: Floats = found["hidden"]
            return hidden if found["ids"].tolist() == list(ids) else None
        except (OSError, SafetensorError, KeyError):
            return None

    def _write(self, ids: Ids, hidden: Floats) -> None:
        tensors: dict[str, NDArray[Any]] = {
            "hidden": np.ascontiguousarray(hidden),
            "ids": np.array(ids, np.int64),
        }
        with suppress(OSError):  # without the cache file, the next run is only slower
            write_file(self._file(ids), save(tensors))
