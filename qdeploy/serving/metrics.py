"""Metrics for Prometheus, under the names that vLLM's have, with `qdeploy` in place of `vllm`."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from qdeploy.serving.queue import Queue
from qdeploy.serving.record import Record

SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144)
LABELS = ("model_name",)
ABORTED = "abort"
"""The finish reason of an answer that was cut off, as vLLM calls it."""
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The metrics of one server, in a registry of their own.

    Args:
        model: the served model's name, which labels them.
        queue: whose load the gauges show.
    """

    def __init__(self, model: str, queue: Queue) -> None:
        self._registry = CollectorRegistry()
        self._model = model
        self._gauge("num_requests_running", "Answers being generated.", lambda: queue.running)
        self._gauge("num_requests_waiting", "Answers waiting for a place.", lambda: queue.waiting)
        self._ttft = self._histogram(
            "time_to_first_token_seconds", "From the request to the first token, queue included."
        )
        self._queued = self._histogram("request_queue_time_seconds", "Time in the queue.")
        self._tpot = self._histogram(
            "request_time_per_output_token_seconds", "Mean time between an answer's tokens."
        )
        self._inter_token = self._histogram(
            "inter_token_latency_seconds", "Time between two tokens that follow each other."
        )
        self._e2e = self._histogram("e2e_request_latency_seconds", "From request to last token.")
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.")
        self._new = self._counter("generation_tokens", "Tokens generated, thinking included.")
        self._finished = self._counter(
            "request_success", "Answers that ended, by their finish reason.", "finished_reason"
        )
        self._responses = self._counter(
            "http_requests", "Responses by route and status.", "path", "status"
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def response(self, path: str, status: int) -> None:
        """Count a response. *path* is that of a route, so that labels are few."""
        self._responses.labels(self._model, path, str(status)).inc()

    def answered(self, record: Record) -> None:
        """Count what a request was given."""
        self._prompt.labels(self._model).inc(record.prompt_tokens)
        self._new.labels(self._model).inc(record.new_tokens)
        for answer in record.answers:
            if answer.queue_s is not None:
                self._queued.labels(self._model).observe(answer.queue_s)
            if answer.ttft_s is not None:
                self._ttft.labels(self._model).observe(answer.ttft_s)
            if answer.tpot_s is not None:
                self._tpot.labels(self._model).observe(answer.tpot_s)
            self._finished.labels(self._model, answer.finish_reason or ABORTED).inc()
            if answer.finish_reason is not None:
                self._e2e.labels(self._model).observe(answer.total_s)
            between = self._inter_token.labels(self._model)
            for seconds in answer.inter_token_s:
                between.observe(seconds)

    def _gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        gauge = Gauge(f"qdeploy:{name}", help, LABELS, registry=self._registry)
        gauge.labels(self._model).set_function(read)

    def _histogram(self, name: str, help: str) -> Histogram:
        return Histogram(f"qdeploy:{name}", help, LABELS, buckets=SECONDS, registry=self._registry)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"qdeploy:{name}", help, (*LABELS, *labels), registry=self._registry)
