"""One request's view of a session, which ends at the next token when the client has left."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qdeploy.interface import Placement, Request, Session, Token
from qdeploy.serving.work import Cancelled, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Observed(Session):
    """A session that one work generates with.

    Between two pieces of text there may be many tokens: those of a tool call, for one. The thread
    therefore looks at every token whether its work was cancelled.
    """

    def __init__(self, session: Session, work: Work[Any], *, device: str) -> None:
        super().__init__(replace(session.limits, concurrency=1), device=device)
        self._session, self._work = session, work

    def placement(self) -> Placement:
        return self._session.placement()

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        with closing(self._session.generate(request)) as tokens:
            for token in tokens:
                if self._work.cancelled:
                    raise Cancelled("the request was cancelled")
                yield token

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        return self._session.score(token_ids)

    def _close(self) -> None:
        """The session is the server's, and other requests use it."""
