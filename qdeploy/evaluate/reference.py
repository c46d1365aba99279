"""What a bundle is held against: the float checkpoint, or another bundle.

Of the checkpoint's results the hidden states before the head are kept on disk, float32 [T, H] a
passage, and not the logits, [T, V]: they are exact, a hundredth of the size of float16 logits at
Qwen3-0.6B's shape, and the head is one product away (docs/quality.md has the measurements).
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
from qdeploy.evaluate.forward import Forward
from qdeploy.interface import Session
from qdeploy.storage.atomic import write_file
from qdeploy.storage.hashing import data_sha256

if TYPE_CHECKING:
    from typing_extensions import Self

Floats = NDArray[np.float32]
Ids = tuple[int, ...]
Count = Callable[[int, int], None]
"""Is told how many of how many steps are done."""

ARITHMETIC = 1
"""Raised whenever `forward` gives other numbers than before: old results are then not found."""


class Reference(ABC):
    """A model that answers for what is right.

    Attributes:
        name: what a person calls it.
        digest: of its content.
        kind: `checkpoint` or `bundle`.
    """

    name: str
    digest: str
    kind: str

    def prepare(self, passages: Sequence[Ids], progress: Count) -> None:  # noqa: B027
        """Do the work that is cheaper for all passages at once than for each."""

    @abstractmethod
    def logits(self, ids: Ids, start: int = 0) -> Floats:
        """Teacher-forced logits, float32 [T - start, V], of a passage that was prepared.

        Rows before *start* are left out.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of files."""

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
    """A checkpoint in float32, computed layer by layer; see `forward`."""

    kind = "checkpoint"

    def __init__(
        self,
        checkpoint: Checkpoint,
        digest: str,
        *,
        rope_scaling: RopeScaling | None = None,
        adapter: Path | None = None,
    ) -> None:
        """Open the weights of *checkpoint*.

        Args:
            checkpoint: of a known architecture.
            digest: of the checkpoint and the adapter, as a plan states it.
            rope_scaling: how positions are scaled for the bundle's context.
            adapter: a LoRA adapter that the bundle was made with.

        Raises:
            CheckpointError: an unknown architecture, or weights that its config does not ask for.
            InputError: the adapter does not fit.
        """
        check_weights(checkpoint)
        self.name, self.digest = checkpoint.name, digest
        self._source = open_weights(checkpoint, adapter=adapter)
        self._forward = Forward(
            self._source, checkpoint.architecture, checkpoint.decoder.graph(rope_scaling)
        )
        self._kept: dict[Ids, Floats] = {}
        self.folder = cache.reference_path(checkpoint.name, digest, rope_scaling, ARITHMETIC)

    def prepare(self, passages: Sequence[Ids], progress: Count) -> None:
        """Compute the hidden states of passages that are neither kept nor cached."""
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

    def close(self) -> None:
        self._source.close()

    def _file(self, ids: Ids) -> Path:
        return self.folder / f"{data_sha256(*ids)[:32]}.safetensors"

    def _read(self, ids: Ids) -> Floats | None:
        """The cached hidden states, or None: a file that is spoilt is computed anew."""
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
        with suppress(OSError):  # a full disk makes the next run slow, and this one not wrong
            write_file(self._file(ids), save(tensors))
