"""What a bundle that is loaded on a device has in common, whatever its task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.errors import GenerationFailed, PromptError

if TYPE_CHECKING:
    from typing_extensions import Self

    from qdeploy.interface.device import Placement


class Loaded(ABC):
    """A bundle loaded on a device.

    Args:
        context: most tokens that it can hold.
        vocab_size: token ids are below this.
        device: named in errors.
    """

    def __init__(self, context: int, vocab_size: int, *, device: str) -> None:
        self._context, self._vocab_size, self._device_name = context, vocab_size, device
        self._closed = False

    @property
    def context(self) -> int:
        """Most tokens, prompt and answer together, that it can hold."""
        return self._context

    @abstractmethod
    def placement(self) -> Placement:
        """Return where the work really runs, asked of the runtime itself."""

    def device_peak_memory_bytes(self) -> int | None:
        """Return the peak of the device's own memory that was taken, in bytes.

        None where the device has none of its own, or the runtime does not report it.
        """
        return None

    def close(self) -> None:
        """Free the device. Calling it twice is harmless."""
        if not self._closed:
            self._closed = True
            self._close()

    @abstractmethod
    def _close(self) -> None:
        """Free the device. It is called once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_ids(self, token_ids: Sequence[int]) -> None:
        """Check the ids themselves: one outside the embedding reads zeros or foreign memory."""
        if len(token_ids) == 0:
            raise PromptError("the prompt is empty", fix="give at least one token")
        size = self._vocab_size
        wrong = next((i for i in token_ids if not 0 <= i < size), None)
        if wrong is not None:
            raise PromptError(
                f"token id {wrong} is outside the model's vocabulary of {size}",
                fix="use the tokenizer of the bundle",
            )

    def _require_open(self) -> None:
        if self._closed:
            raise GenerationFailed("the session is closed", where=self._device_name)
