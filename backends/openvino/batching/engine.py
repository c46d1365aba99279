"""The engine: a process that steps a ContinuousBatchingPipeline for all requests of a session."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdeploy.backends.openvino import runtime
from qdeploy.backends.openvino.batching.grammar import Compiler
from qdeploy.backends.openvino.batching.messages import Kind, request_from_plain
from qdeploy.backends.openvino.errors import essence, translated
from qdeploy.backends.openvino.placement import loading_log
from qdeploy.backends.openvino.request import generation_config, token_tensor
from qdeploy.interface import Request
from qdeploy.system.channel import Channel, Message

KEPT = 256
"""Schemas of which it is remembered whether they compile; a server is sent ever new ones."""
WARM_UP = Request(prompt_ids=(0, 0), max_new_tokens=2)


def work(job: dict[str, Any], channel: Channel) -> None:
    """Load the pipeline that *job* describes, and serve its session for ever.

    Raises:
        GenerationFailed: the runtime could not load it, or broke.
    """
    loaded = runtime.load()
    where, device = job["folder"], job["device"]
    with translated(f"loading on {device}", where=where, fix=f"qdeploy verify {where}"):
        with loading_log() as log:
            pipeline = load_pipeline(loaded, job)
        engine = Engine(loaded, pipeline, job["vocab_size"], channel)
        engine.warm_up()
    channel.send({"ready": "".join(log)})
    with translated("generating", where=device):
        engine.run()


def load_pipeline(loaded: runtime.Runtime, job: dict[str, Any]) -> Any:
    """Return a ContinuousBatchingPipeline."""
    scheduler = loaded.genai.SchedulerConfig()
    for name, value in job["scheduler"].items():
        setattr(scheduler, name, value)
    properties = dict(job["plugin"])
    if cache := job["cache"]:
        Path(cache).mkdir(parents=True, exist_ok=True)
        properties["CACHE_DIR"] = cache
    return loaded.genai.ContinuousBatchingPipeline(
        job["folder"], scheduler, job["device"], properties, {}, {}
    )


@dataclass
class Running:
    """A request in the pipeline. It is *fresh* until its first token."""

    request: Request
    handle: Any
    fresh: bool = True


class Engine:
    """Adds, steps and cancels requests, all on one thread."""

    def __init__(
        self, loaded: runtime.Runtime, pipeline: Any, vocab_size: int, channel: Channel
    ) -> None:
        self._runtime, self._pipeline, self._channel = loaded, pipeline, channel
        self._running: dict[int, Running] = {}
        self._constrained: deque[tuple[int, Request]] = deque()
        self._compiled: dict[str, str | None] = {}
        self._compiler = Compiler(loaded, pipeline.get_tokenizer(), vocab_size, self._have_compiled)
        self._ended: list[int] = []
        self._failed: list[tuple[int, Kind, str]] = []

    def warm_up(self) -> None:
        """Make two tokens: the plugin packs weights and builds kernels at the first inference."""
        self._add(0, WARM_UP)
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        del self._running[0]

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for message in self._channel.receive(wait=not self._has_work()):
                self._take(message)
            self._admit()
            made = self._step() if self._pipeline.has_non_finished_requests() else []
            if made or self._ended or self._failed:
                self._channel.send({"made": made, "ended": self._ended, "failed": self._failed})
                self._ended, self._failed = [], []

    def _has_work(self) -> bool:
        may_admit = bool(self._constrained) and not self._compiler.is_running
        return may_admit or self._pipeline.has_non_finished_requests()

    def _take(self, message: Message) -> None:
        if "compiled" in message:
            self._compiled[message["compiled"]] = message["wrong"]
            if len(self._compiled) > KEPT:  # forget the oldest; the newest is waited for
                del self._compiled[next(iter(self._compiled))]
        elif "cancel" in message:
            self._cancel(message["cancel"])
        else:
            number, request = message["add"], request_from_plain(message["request"])
            if request.json_schema is None:
                self._add(number, request)
            else:
                self._constrained.append((number, request))

    def _add(self, number: int, request: Request) -> None:
        try:
            config = generation_config(self._runtime, request)
            prompt = token_tensor(self._runtime, request.prompt_ids)
            handle = self._pipeline.add_request(number, prompt, config)
        except RuntimeError as error:  # it refused this request alone
            self._failed.append((number, "runtime", essence(error)))
        else:
            self._running[number] = Running(request, handle)

    def _cancel(self, number: int) -> None:
        """Cancel a request, unless it has ended meanwhile. Its blocks are free after a step."""
        if running := self._running.pop(number, None):
            running.handle.cancel()
            self._ended.append(number)
        for waiting in self._constrained:
            if waiting[0] == number:
                self._constrained.remove(waiting)
                self._ended.append(number)
                return

    def _admit(self) -> None:
        """Add requests whose schemas are compiled, and have the next one compiled.

        The compiler and the first token of a constrained request change the same lists of the
        runtime's, without a lock, so they take turns.
        """
        while self._constrained and not self._compiler.is_running:
            number, request = self._constrained[0]
            schema = request.json_schema or ""
            if schema not in self._compiled:
                if not any(r.fresh and r.request.json_schema for r in self._running.values()):
                    self._compiler.start(request)
                return
            self._constrained.popleft()
            if (wrong := self._compiled[schema]) is None:
                self._add(number, request)
            else:
                self._failed.append((number, "schema", wrong))

    def _have_compiled(self, schema: str, wrong: str | None) -> None:
        self._channel.post({"compiled": schema, "wrong": wrong})

    def _step(self) -> list[tuple[int, list[int], list[float] | None]]:
        """Make a token of each request that has its turn. Return those tokens, by request."""
        self._pipeline.step()
        made: list[tuple[int, list[int], list[float] | None]] = []
        status = self._runtime.genai.GenerationStatus
        for number, running in list(self._running.items()):
            ids: list[int] = []
            logprobs: list[float] = []
            while running.handle.can_read():
                for output in running.handle.read().values():
                    ids += output.generated_ids
                    logprobs += output.generated_log_probs
            if ids:
                running.fresh = False
                wanted = running.request.logprobs is not None
                made.append((number, ids, logprobs if wanted else None))
            state = running.handle.get_status()
            if state == status.RUNNING:
                continue
            del self._running[number]
            if state == status.IGNORED:
                self._failed.append((number, "cache", "the key-value cache has no room for it"))
            else:
                self._ended.append(number)
        return made
