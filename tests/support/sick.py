"""A runtime that fails as drivers do. The profile's property `ill` selects the failure.

"abort"     aborts the process                 "hang"      never returns
"raise"     raises an error of qdeploy         "bug"       raises an unexpected error
"wrong"     logits that are all NaN            "shape"     logits of another vocabulary
"chatter"   the right logits, and output on stdout like a driver's
"stray"     the right logits, and tokens that do not follow from them
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from qdeploy.bundle import Bundle
from qdeploy.errors import GenerationFailed
from qdeploy.evaluate.golden import golden_prompts
from qdeploy.evaluate.logits import Logits
from qdeploy.interface import Device, LoadOptions, Request, Session, Token
from tests.support.scripted import HERE, ScriptedBackend, ScriptedSession

SICK = {
    "qdeploy.backends": {"sick": "tests.support.sick:SickBackend"},
    "qdeploy.exporters": {"scripted": "tests.support.scripted:ScriptedExporter"},
    "qdeploy.formats": {"script": "tests.support.scripted:SCRIPT"},
}
HANG = 600


class SickSession(ScriptedSession):
    """Returns the golden logits, and the greedy continuation of a golden prompt."""

    def __init__(self, model: str, ill: str) -> None:
        super().__init__([])
        self._prompts, self._ill = golden_prompts(model), ill

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        for prompt in self._prompts:
            if prompt.token_ids.tolist() == list(token_ids):
                return self._spoilt(prompt.logits)
        first = self._prompts[0]
        answer = np.zeros((len(token_ids), first.logits.shape[1]), np.float32)
        answer[:, 7] = 1.0
        return answer

    def _spoilt(self, logits: Logits) -> Logits:
        match self._ill:
            case "wrong":
                return np.full_like(logits, np.nan)
            case "shape":
                return logits[:, :-1]
            case _:
                return logits

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        token = 8 if self._ill == "stray" else 7
        for _ in range(request.max_new_tokens):
            yield Token(token, time.perf_counter())


class SickBackend(ScriptedBackend):
    name = "sick"

    def devices(self, target: object, *, simulate: bool = False) -> list[Device]:
        return [Device("SICK", "a sick device", HERE.name)]

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        ill = str(bundle.manifest.profile.runtime.properties.get("ill", ""))
        match ill:
            case "abort":
                print("driver: assertion failed", file=sys.stderr, flush=True)
                os.abort()
            case "hang":
                time.sleep(HANG)
            case "raise":
                raise GenerationFailed("the device ran away", fix="catch it")
            case "bug":
                raise ZeroDivisionError("an unexpected error")
            case "chatter":
                print('{"status": "failed"}\ndriver 1.0 loaded', flush=True)
        return SickSession(bundle.manifest.model.name, ill)
