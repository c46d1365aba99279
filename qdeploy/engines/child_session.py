"""A session over an engine that this process started: it waits while the engine is started anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from qdeploy.engines.child import Child, DiedBefore
from qdeploy.engines.client import EngineClient
from qdeploy.engines.session import EngineSession
from qdeploy.interface import Limits, Placement, Request, Token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ChildSession(EngineSession):
    """An `EngineSession` whose engine may die: requests that run then are told so, later ones wait.

    Args:
        child: started.
        connect: the client for a URL.
        placement: asks the engine where it runs.
        resources: closed with the session; they stop the engine.
    """

    def __init__(
        self,
        child: Child,
        connect: Callable[[str], EngineClient],
        limits: Limits,
        *,
        model: str,
        device: str,
        placement: Callable[[], Placement],
        resources: ExitStack,
    ) -> None:
        with child.serving() as url:
            client = connect(url)
        super().__init__(client, limits, model=model, device=device, placement=placement)
        self._child, self._connect, self._url = child, connect, url
        self._resources, self._swap = resources, threading.Lock()

    @property
    def child(self) -> Child:
        """The engine's process."""
        return self._child

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        while True:
            with suppress(DiedBefore), self._connected():
                yield from super()._generate(request)
                return

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        while True:
            with suppress(DiedBefore), self._connected():
                return super()._score(token_ids)

    def _close(self) -> None:
        super()._close()
        self._resources.close()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Talk to the engine that runs now, which may be another one than before."""
        with self._child.serving() as url:
            with self._swap:
                if url != self._url:
                    self._client.close()
                    self._client, self._url = self._connect(url), url
            yield
