"""Settings of a session: the properties of the bundle's profile, overridden by the user's.

Most properties are passed to the plugin that compiles the model. `ATTENTION_BACKEND` and the
scheduler's options (lower case, as in openvino-genai) exist in openvino-genai only. A few are
refused, because the cache, the proof of placement or correct answers depend on them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qdeploy.backends.openvino import isa, npu
from qdeploy.backends.openvino.batching.cache import cache_blocks
from qdeploy.errors import InputError
from qdeploy.interface import Device, Limits, LoadOptions, Property
from qdeploy.planning.formats import OPENVINO
from qdeploy.system.threads import usable_threads
from qdeploy.targets import Evidence

if TYPE_CHECKING:
    from qdeploy.bundle import Manifest

THREADS = "INFERENCE_NUM_THREADS"
ATTENTION = "ATTENTION_BACKEND"
SCHEDULER: Mapping[str, type] = {
    "cache_size": int,
    "enable_prefix_caching": bool,
    "max_num_batched_tokens": int,
    "num_kv_blocks": int,
}
"""Options of openvino-genai's SchedulerConfig, which only paged attention has."""
ONE_DEVICE = "a session runs on one device, and on nothing else"
REFUSED = {
    "CACHE_DIR": "its place follows from the cache folder and the bundle's digest",
    "DEVICE_PROPERTIES": ONE_DEVICE,
    "MULTI_DEVICE_PRIORITIES": ONE_DEVICE,
    "NPUW_DEVICES": ONE_DEVICE,
    "NPUW_FALLBACK_EXEC": ONE_DEVICE,
    "NPUW_SUBMODEL_DEVICE": ONE_DEVICE,
    "NPUW_LLM_GENERATE_PYRAMID": "long answers come out wrong with it",
}
CPU_BATCH = 512
"""Prompt tokens a step on the CPU. Whole prompts at once are no faster and take more memory:
3000 tokens on a 0.6B model, 156-162 tok/s either way, 0.34 GB more against 0.20 GB more."""
KERNELS = "CPU_RUNTIME_CACHE_CAPACITY"
MOST_KERNELS = 128
"""Kernels that the CPU plugin keeps for shapes it has seen. Many requests make ever new shapes.
Requests of random lengths to qwen3-nano took more memory than those of one length: with the
plugin's own 5000, 4000 requests 660 MB and 11,000 requests 780; with 128, 4000 requests 280, and in
a soak of 14,000 memory became stable (2026.4.1, AMD EPYC, Zen 4)."""
UNLIMITED = 2**63 - 1
"""A prompt in one step, which is openvino-genai's own choice for a single user."""


@dataclass(frozen=True)
class Settings:
    """Resolved settings of a load.

    Attributes:
        device: OpenVINO's name: `CPU`, `GPU.<n>` or `NPU`.
        evidence: `device`, or `simulated` for a simulated device.
        plugin: properties for the plugin that compiles the model.
        scheduler: SchedulerConfig options; None where attention is not paged.
        context: most tokens, prompt and answer together.
        prompt_limit: most prompt tokens; on the NPU less than the context.
        prompt_minimum: fewest prompt tokens.
        concurrency: requests at once; more than 1 only where attention is paged.
    """

    device: str
    evidence: Evidence
    plugin: Mapping[str, Property]
    scheduler: Mapping[str, Property] | None
    context: int
    prompt_limit: int
    prompt_minimum: int = 1
    concurrency: int = 1

    @property
    def on_npu(self) -> bool:
        return self.device == "NPU"

    @property
    def batches(self) -> bool:
        """Whether a session serves many requests at once."""
        return self.concurrency > 1

    @property
    def threads(self) -> int | None:
        """CPU threads that the plugin is asked for; None on devices other than the CPU."""
        threads = self.plugin.get(THREADS)
        return None if threads is None else int(threads)

    def limits(self, vocab_size: int) -> Limits:
        """Return what a session can take.

        On the NPU a prompt over its limit gave garbled text without an error (openvino.genai issue
        3255), and the cache holds one token less than the context, since the last token generated
        is never fed back. LLMPipeline tells a streamer no log-probabilities, and
        ContinuousBatchingPipeline only that of the token itself.
        """
        return Limits(
            self.context,
            vocab_size,
            prompt=self.prompt_limit,
            shortest_prompt=self.prompt_minimum,
            score=self.context - 1 if self.on_npu else None,
            prompt_setting=npu.PROMPT if self.on_npu else None,
            concurrency=self.concurrency,
            logprobs=0 if self.batches else None,
            json_schema=True,
        )


def resolve_settings(manifest: Manifest, device: Device, options: LoadOptions) -> Settings:
    """Merge the profile's properties with the user's and split them.

    Raises:
        InputError: a property that is refused, contradicts another or has a wrong type.
    """
    merged = {**manifest.profile.runtime.properties, **options.properties}
    for name in merged.keys() & REFUSED.keys():
        raise InputError(f"the property {name} cannot be set: {REFUSED[name]}", fix="leave it out")
    on_cpu = device.id == "CPU" or device.evidence is Evidence.SIMULATED
    if options.threads is not None and not on_cpu:
        raise InputError(f"threads are for CPUs, not {device.id}", fix="leave out --threads")
    if on_cpu:
        threads = merged.get(THREADS, usable_threads())
        merged[THREADS] = threads if options.threads is None else options.threads
    if device.id == "NPU":
        return _for_npu(merged, manifest, device, options.context)
    # Set even where it is the plugin's default: an IR may carry another one in its rt_info.
    precision = {"KV_CACHE_PRECISION": OPENVINO.cache_types[manifest.profile.kv_cache.dtype]}
    merged = {**precision, **merged}
    if device.id == "CPU":
        merged = {**isa.limited_properties(os.environ), **merged}
    scheduler = _scheduler(merged, CPU_BATCH if device.id == "CPU" else UNLIMITED)
    plugin = {n: v for n, v in merged.items() if n != ATTENTION and n not in SCHEDULER}
    longest = manifest.model.context_length
    context = min(options.context or longest, longest)
    found = Settings(device.id, device.evidence, plugin, scheduler, context, context - 1)
    if scheduler is None or options.concurrency == 1:
        return found
    asked = {name: merged[name] for name in SCHEDULER if name in merged}
    blocks = cache_blocks(manifest, device, context, options.concurrency, asked)
    batched = _batched(asked, device.id == "CPU", options.concurrency, blocks)
    if device.id == "CPU":
        plugin = {KERNELS: MOST_KERNELS, **plugin}
    return replace(found, plugin=plugin, scheduler=batched, concurrency=options.concurrency)


def _batched(
    asked: Mapping[str, Property], on_cpu: bool, concurrency: int, blocks: int | None
) -> dict[str, Property]:
    """Return the scheduler's options for many requests at once.

    Prefixes are cached: chats that go on, and prompts with the same instructions, are most of a
    server's work. The rest of such a prompt is computed in other shapes, and so is each token
    beside other requests, so an answer may differ from the one that a single request gets.
    """
    options: dict[str, Property] = {
        "enable_prefix_caching": True,
        "dynamic_split_fuse": True,
        "max_num_seqs": concurrency,
    }
    if on_cpu:
        options["max_num_batched_tokens"] = max(CPU_BATCH, concurrency)
    if blocks is not None:
        options["num_kv_blocks"] = blocks
    return {**options, **asked}


def _scheduler(properties: Mapping[str, Property], batch: int) -> dict[str, Property] | None:
    """Return the options for paged attention, or None where *properties* ask for the other."""
    asked = {name: properties[name] for name in SCHEDULER if name in properties}
    for name, value in asked.items():
        if type(value) is not SCHEDULER[name]:
            raise InputError(f"{name} is {value!r}", fix=f"give it as {SCHEDULER[name].__name__}")
    attention = properties.get(ATTENTION, "PA")
    if attention == "PA":
        # Prefix caching is off unless asked for: the rest of a prompt whose beginning is cached
        # is computed in other shapes, so the same request may give other tokens.
        return {"enable_prefix_caching": False, "max_num_batched_tokens": batch, **asked}
    if attention != "SDPA":
        raise InputError(f"{ATTENTION} is {attention!r}", fix="use PA or SDPA")
    if asked:
        raise InputError(
            f"{', '.join(asked)} needs paged attention",
            fix=f"leave it out, or set {ATTENTION} to PA",
        )
    return None


def _for_npu(
    merged: Mapping[str, Property], manifest: Manifest, device: Device, wanted: int | None
) -> Settings:
    paged = [name for name in merged if name == ATTENTION or name in SCHEDULER]
    if paged:
        raise InputError(f"{', '.join(paged)} does not exist on the NPU", fix="leave it out")
    longest = manifest.model.context_length
    lengths = npu.static_lengths(merged, min(wanted or 0, longest))
    where = npu.SIMULATED if device.evidence is Evidence.SIMULATED else npu.ONLY_NPU
    context = min(lengths.context, longest)
    return Settings(
        device.id,
        device.evidence,
        {**merged, **lengths.properties(), **npu.WHOLE_CACHE, **where},
        None,
        context,
        min(lengths.prompt, context - 1),
        npu.SHORTEST_PROMPT,
    )
