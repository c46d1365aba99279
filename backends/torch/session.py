"""A bundle on torch: generates with qdeploy's own loop, and scores."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qdeploy.backends.torch import runtime
from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.engine.decoder import Decoder
from qdeploy.backends.torch.errors import translated
from qdeploy.backends.torch.settings import Settings
from qdeploy.interface import Limits, Placement, Request, Session, Token
from qdeploy.interface.logprobs import MOST_LOGPROBS, token_of
from qdeploy.interface.sampler import Sampler
from qdeploy.interface.schema import SchemaGuide

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TorchSession(Session):
    """A bundle on one or several devices of an accelerator."""

    def __init__(
        self,
        decoder: Decoder,
        accelerator: Accelerator,
        placement: Placement,
        settings: Settings,
        schemas: SchemaGuide | None,
    ) -> None:
        limits = Limits(
            settings.context, settings.vocabulary,
            logprobs=MOST_LOGPROBS, json_schema=schemas is not None,
        )  # fmt: skip
        super().__init__(limits, device=settings.device.name, schemas=schemas)
        self._decoder: Decoder | None = decoder
        self._accelerator, self._placement, self._settings = accelerator, placement, settings

    def placement(self) -> Placement:
        return self._placement

    def device_peak_memory_bytes(self) -> int | None:
        peaks = [self._accelerator.peak_memory_bytes(device) for device in self._settings.devices]
        known = [peak for peak in peaks if peak is not None]
        return sum(known) if known else None

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        decoder = self._loaded()
        sampler = Sampler(request.sampling, request.prompt_ids, self._schema_of(request))
        with self._computing("generating"):
            decoder.begin(len(request.prompt_ids) + request.max_new_tokens)
            logits = decoder.feed(request.prompt_ids)
        for left in reversed(range(request.max_new_tokens)):
            token = sampler.draw(logits)
            yield token_of(request, token, logits)
            if left:
                with self._computing("generating"):
                    logits = self._loaded().feed([token])

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        with self._computing("scoring"):
            return self._loaded().score(token_ids)

    def _close(self) -> None:
        self._decoder = None

    @contextmanager
    def _computing(self, doing: str) -> Iterator[None]:
        with (
            translated(doing, where=self._device_name),
            runtime.computing(self._settings.threads),
        ):
            yield

    def _loaded(self) -> Decoder:
        self._require_open()
        assert self._decoder is not None  # noqa: S101
        return self._decoder
