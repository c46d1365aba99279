"""openvino-genai's ContinuousBatchingPipeline by itself, stepped in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qdeploy.system.worker import run_worker

SECONDS = 3600.0


def measure(
    bundle: Path, loads: Sequence[Mapping[str, Any]], *, cached: bool, threads: int
) -> dict[int, float]:
    """Return tokens a second by the number of streams.

    Args:
        bundle: in the format openvino.
        loads: of each the number of `streams`, and the requests of its `warm_up` and those that
            are measured, `requests`: pairs of the prompt's ids and of how many tokens to make.
        cached: whether prefixes are cached.
        threads: CPU threads that it computes with.
    """
    job = {"bundle": str(bundle), "loads": list(loads), "cached": cached, "threads": threads}
    found = run_worker(work, job, seconds=SECONDS)
    return {int(streams): speed for streams, speed in found.items()}


def work(job: dict[str, Any], _: object) -> dict[int, float]:
    """The worker: steps the pipeline, which always has as many requests as there are streams."""
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 2
    scheduler.enable_prefix_caching = job["cached"]
    pipeline = genai.ContinuousBatchingPipeline(
        job["bundle"], scheduler, "CPU", {"INFERENCE_NUM_THREADS": job["threads"]}
    )
    found: dict[int, float] = {}
    for load in job["loads"]:
        _step_through(pipeline, load["warm_up"], load["streams"])
        begin = time.perf_counter()
        made = _step_through(pipeline, load["requests"], load["streams"])
        found[load["streams"]] = made / (time.perf_counter() - begin)
    return found


def _step_through(pipeline: Any, requests: Sequence[Any], streams: int) -> int:
    """Answer all requests, so many at once; return the number of tokens."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    waiting, made = list(enumerate(requests))[::-1], 0
    running: dict[int, Any] = {}
    while waiting or running:
        while waiting and len(running) < streams:
            number, (ids, new) = waiting.pop()
            config = genai.GenerationConfig()
            config.max_new_tokens, config.ignore_eos = new, True
            tensor = ov.Tensor(np.array([ids], np.int64))
            running[number] = pipeline.add_request(number, tensor, config)
        pipeline.step()
        for number, handle in list(running.items()):
            while handle.can_read():
                made += sum(len(output.generated_ids) for output in handle.read().values())
            if handle.get_status() == genai.GenerationStatus.FINISHED:
                del running[number]
    return made
