"""A runtime and an exporter that follow a script, to test the core without real ones.

A unit test gives a `ScriptedSession` its tokens. For the real command, `ScriptedBackend` and
`ScriptedExporter` are a plugin, and the profile's runtime properties are the script:

    answer = "text"     the answer to every request, followed by a stop token
    delay = 0.1         seconds before each token
    vanish = 3          the device disappears after this many requests
    die = 3             the process ends after this many requests
    memory = 5e8        bytes that weights and cache may take
    export = "hang"     write half of a file and wait; "full", "crash" and "bug" fail instead
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qdeploy.bundle import Bundle
from qdeploy.errors import (
    ExportFailed,
    GenerationFailed,
    OutOfMemory,
    Refusal,
    TargetUnavailable,
)
from qdeploy.interface import (
    Backend,
    Device,
    Exporter,
    Limits,
    LoadOptions,
    Placement,
    Progress,
    Property,
    Request,
    Session,
    Token,
)
from qdeploy.planning.formats import Format
from qdeploy.planning.plan import Plan
from qdeploy.targets import Evidence, Target
from qdeploy.tokenization.tokenizer import Tokenizer

HERE = Target("scripted", "a script", "cpu")
NOT_HERE = Target("unscripted", "a missing script", "npu")
WEIGHTS = "scripted.safetensors"
SCRIPT = Format("script", files={"weights": "*.safetensors"})


class ScriptedSession(Session):
    """Answers each request with the next of *answers*, and repeats the last one.

    Attributes:
        requests: every request, in order.
        closed_early: number of requests that were closed before their last token.
    """

    def __init__(
        self,
        *answers: Sequence[int],
        context: int = 4096,
        prompt_limit: int | None = None,
        vocab_size: int = 2**31,
        delay: float = 0.0,
        evidence: Evidence = Evidence.DEVICE,
        vanish: int | None = None,
        die: int | None = None,
        logprobs: int | None = None,
        json_schema: bool = False,
    ) -> None:
        limits = Limits(
            context, vocab_size, prompt=prompt_limit, logprobs=logprobs, json_schema=json_schema
        )
        super().__init__(limits, device="SCRIPT")
        self._answers, self._delay = answers, delay
        self._evidence, self._vanish, self._die = evidence, vanish, die
        self.requests: list[Request] = []
        self.closed_early = 0
        self.closed = False

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        if len(self.requests) == self._vanish:
            raise GenerationFailed("the device is gone", where="SCRIPT", fix="plug it in again")
        if len(self.requests) == self._die:
            os.write(2, b"the driver gives up\n")
            os._exit(7)
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        for token in answer[: request.max_new_tokens]:
            time.sleep(self._delay)
            last = token in request.stop_ids
            try:
                yield _told(Token(token, time.perf_counter()), request.logprobs)
            except GeneratorExit:
                self.closed_early += not last
                raise
            if last:
                return

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        return np.zeros((len(token_ids), 1), np.float32)

    def placement(self) -> Placement:
        return Placement(("SCRIPT",), self._evidence, "it was written down")

    def _close(self) -> None:
        self.closed = True


def _told(token: Token, logprobs: int | None) -> Token:
    """Tell log-probabilities of tokens with the next ids: -1 of the token itself, -2, -3, ..."""
    if logprobs is None:
        return token
    best = tuple((token.id + i, -1.0 - i) for i in range(logprobs))
    return replace(token, logprob=-1.0, most_probable=best)


class ScriptedBackend(Backend):
    name, formats = "scripted", (SCRIPT.name,)
    targets: ClassVar[tuple[Target, ...]] = (HERE, NOT_HERE)
    simulates = frozenset({NOT_HERE.name})

    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        if simulate:
            simulated = "a script (simulation)"
            return [Device("SIM", simulated, target.name, evidence=Evidence.SIMULATED)]
        if target == NOT_HERE:
            raise TargetUnavailable("its script is missing", "pip install 'script[writer]'")
        return [Device(f"SCRIPT:{i}", f"script {i}", target.name, 2**30) for i in range(2)]

    def why_not(self, plan: Plan) -> str | None:
        return None

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        script = {**bundle.manifest.profile.runtime.properties, **options.properties}
        _check_memory(bundle, options.context, script.get("memory"))
        tokenizer = Tokenizer(bundle.path)
        answer = tokenizer.encode(str(script.get("answer", "")))
        return ScriptedSession(
            [*answer, min(tokenizer.stop_ids)],
            context=options.context or bundle.manifest.model.context_length,
            vocab_size=bundle.manifest.model.vocab_size,
            delay=float(script.get("delay", 0)),
            evidence=device.evidence,
            vanish=int(script["vanish"]) if "vanish" in script else None,
            die=int(script["die"]) if "die" in script else None,
        )


def _check_memory(bundle: Bundle, context: int | None, memory: Property | None) -> None:
    """Fail as a runtime does that has this much memory, in bytes, for weights and cache."""
    manifest = bundle.manifest
    cache = (context or manifest.model.context_length) * manifest.plan["kv_bytes_per_token"]
    if memory is not None and manifest.plan["weight_bytes"] + cache > int(memory):
        raise OutOfMemory("loading failed: out of memory (bad_alloc)", where=bundle.path)


class ScriptedExporter(Exporter):
    name, formats = "scripted", (SCRIPT.name,)

    def why_not(self, plan: Plan) -> Refusal | None:
        return (
            Refusal("the script forbids it", "write another")
            if plan.linear.dtype == "nf4"
            else None
        )

    def peak_memory_bytes(self, plan: Plan) -> int:
        return 2**20

    def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
        progress.stage("following the script")
        script = plan.profile.runtime.properties
        file = folder / WEIGHTS
        file.write_bytes(b"half")
        match script.get("export"):
            case "hang":
                time.sleep(600)
            case "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case "crash":
                raise ExportFailed("the script ends badly")
            case "bug":
                raise ZeroDivisionError("an unexpected error")
        file.write_bytes(b"half and half")
        progress.written(file.stat().st_size)
