"""The backend: finds devices, loads bundles."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qdeploy.backends.openvino import devices, runtime
from qdeploy.backends.openvino.batching.session import BatchedSession
from qdeploy.backends.openvino.compile_cache import cache_folder
from qdeploy.backends.openvino.encoder import OpenVINOEncoder
from qdeploy.backends.openvino.energy import integrated_gpu
from qdeploy.backends.openvino.errors import translated
from qdeploy.backends.openvino.peer import PEER
from qdeploy.backends.openvino.placement import loading_log, prove_placement
from qdeploy.backends.openvino.request import generation_config, token_tensor
from qdeploy.backends.openvino.session import OpenVINOSession
from qdeploy.backends.openvino.settings import ATTENTION, Settings, resolve_settings
from qdeploy.interface import Backend, Device, Encoder, LoadOptions, Request, Session
from qdeploy.planning.formats import OPENVINO
from qdeploy.targets import CPU, INTEGRATED_GPU, INTEL_CPU, INTEL_GPU, INTEL_NPU, Target

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.planning.plan import Plan

WARM_UP = Request(prompt_ids=(0, 0), max_new_tokens=2)
"""A prefill and a step. The plugins pack weights and build kernels at the first inference (3 s
for a 0.6B model on two cores); that belongs to loading, not to the first answer."""

WARM_UP_BATCH = ((0, 0),)
"""The same for an encoder, which has no steps."""


class OpenVINOBackend(Backend):
    """Any CPU, Intel GPU and NPU."""

    name = "openvino"
    formats = (OPENVINO.name,)
    batches = True
    targets = (CPU, INTEL_CPU, INTEL_GPU, INTEL_NPU)
    simulates = devices.simulated_targets()
    requires = ("openvino", "openvino-genai", "openvino-tokenizers")
    peers = (PEER,)
    meters = MappingProxyType({INTEGRATED_GPU: integrated_gpu})

    def is_installed(self) -> bool:
        return not runtime.missing_packages()

    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        if simulate:
            return [devices.simulated(target)]
        return devices.find(target)

    def why_not(self, plan: Plan) -> str | None:
        if plan.format not in self.formats:
            return f"it loads the format {OPENVINO.name}, and this plan's is {plan.format}"
        if plan.target.name not in devices.PLUGINS:
            return f"it serves {', '.join(devices.PLUGINS)}, and not {plan.target.name}"
        return None

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        loaded = runtime.load()
        settings = resolve_settings(bundle.manifest, device, options)
        cache = _cache(loaded, bundle, device, options, settings)
        if settings.batches:
            vocab_size = bundle.manifest.model.vocab_size
            return BatchedSession(settings, bundle.path, vocab_size, cache, device.name)
        fix = f"qdeploy verify {bundle.path}"
        with translated(f"loading on {device.id}", where=bundle.path, fix=fix):
            with loading_log() as log:
                pipeline = _pipeline(loaded, bundle.path, settings, cache)
            placement = prove_placement("".join(log), settings, device.name)
            _warm_up(loaded, pipeline)
        return OpenVINOSession(
            loaded,
            pipeline,
            placement,
            settings,
            bundle.path,
            bundle.manifest.model.vocab_size,
            cache,
        )

    def load_encoder(self, bundle: Bundle, device: Device, options: LoadOptions) -> Encoder:
        loaded = runtime.load()
        settings = resolve_settings(bundle.manifest, device, options)
        cache = _cache(loaded, bundle, device, options, settings)
        fix = f"qdeploy verify {bundle.path}"
        with translated(f"loading on {device.id}", where=bundle.path, fix=fix):
            encoder = OpenVINOEncoder(
                loaded,
                bundle.path / OPENVINO.files["model"],
                settings,
                bundle.manifest.model.vocab_size,
                cache,
                device.name,
            )
            encoder.encode(WARM_UP_BATCH)
        return encoder


def _cache(
    loaded: runtime.Runtime,
    bundle: Bundle,
    device: Device,
    options: LoadOptions,
    settings: Settings,
) -> Path | None:
    return cache_folder(
        options.cache_dir,
        settings,
        bundle=bundle.digest,
        driver=device.driver,
        runtime=loaded.ov.get_version(),
    )


def _pipeline(loaded: runtime.Runtime, folder: Path, settings: Settings, cache: Path | None) -> Any:
    """Return an LLMPipeline.

    On CPU and GPU the attention backend is named. Left to choose, openvino-genai tries paged
    attention and on any error falls back to the other one with a line in its log.
    """
    properties: dict[str, Any] = dict(settings.plugin)
    if settings.scheduler is not None:
        scheduler = loaded.genai.SchedulerConfig()
        for name, value in settings.scheduler.items():
            setattr(scheduler, name, value)
        properties["scheduler_config"] = scheduler
    if not settings.on_npu:
        properties[ATTENTION] = "SDPA" if settings.scheduler is None else "PA"
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        properties["CACHE_DIR"] = str(cache)
    return loaded.genai.LLMPipeline(str(folder), settings.device, **properties)


def _warm_up(loaded: runtime.Runtime, pipeline: Any) -> None:
    config = generation_config(loaded, WARM_UP)
    pipeline.generate(token_tensor(loaded, WARM_UP.prompt_ids), config)
