"""The backend: finds devices, loads bundles."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qdeploy.backends.onnxruntime import devices, runtime, simulated_devices
from qdeploy.backends.onnxruntime.batching import Batch
from qdeploy.backends.onnxruntime.compile_cache import with_cache
from qdeploy.backends.onnxruntime.decoder import Model
from qdeploy.backends.onnxruntime.dynamic_decoder import DynamicDecoder, generating_graph
from qdeploy.backends.onnxruntime.encoder import OnnxRuntimeEncoder
from qdeploy.backends.onnxruntime.errors import translated
from qdeploy.backends.onnxruntime.genai import GenaiLoop
from qdeploy.backends.onnxruntime.inference_session import open_session
from qdeploy.backends.onnxruntime.peer import PEER
from qdeploy.backends.onnxruntime.placement import assigned_nodes, prove_placement
from qdeploy.backends.onnxruntime.providers import FOR_TARGET, PROVIDERS, Provider, of
from qdeploy.backends.onnxruntime.session import OnnxRuntimeSession
from qdeploy.backends.onnxruntime.settings import Settings, resolve_settings
from qdeploy.backends.onnxruntime.slots import Slots
from qdeploy.backends.onnxruntime.static_decoder import StaticDecoder
from qdeploy.interface import Backend, Device, Encoder, LoadOptions, Request, Session
from qdeploy.interface.schema import schema_guide
from qdeploy.planning.formats import ONNX, ONNX_STATIC
from qdeploy.targets import Evidence, Target

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.planning.plan import Plan

MODELS: dict[str, type[DynamicDecoder] | type[StaticDecoder]] = {
    ONNX.name: DynamicDecoder,
    ONNX_STATIC.name: StaticDecoder,
}
WARM_UP = Request(prompt_ids=(0, 0), max_new_tokens=2)
"""A prefill and a step: kernels are packed and built at the first, which belongs to loading."""

WARM_UP_BATCH = ((0, 0),)
"""The same for an encoder, which has no steps."""


class OnnxRuntimeBackend(Backend):
    """The execution providers of ONNX Runtime that have a row in `providers`."""

    name = "onnxruntime"
    formats = (ONNX.name, ONNX_STATIC.name)
    batches = True
    targets = tuple(dict.fromkeys(p.target for p in PROVIDERS))
    simulates = simulated_devices.TARGETS
    slow = simulated_devices.TARGETS
    requires = (
        "onnxruntime", "onnxruntime-gpu", "onnxruntime-migraphx", "onnxruntime-cann",
        "onnxruntime-genai", "onnxruntime-ep-openvino", "onnxruntime-ep-webgpu",
        "onnxruntime-ep-nv-tensorrt-rtx",
    )  # fmt: skip
    peers = (PEER,)

    def is_installed(self) -> bool:
        return runtime.is_installed()

    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        return [simulated_devices.device(target)] if simulate else devices.find(target)

    def why_not(self, plan: Plan) -> str | None:
        providers = FOR_TARGET.get(plan.target.name)
        if providers is None:
            return f"it serves {', '.join(FOR_TARGET)}, and not {plan.target.name}"
        refusals = [_refusal(provider, plan) for provider in providers]
        return None if None in refusals else "; ".join(filter(None, refusals))

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        settings = self._settings(bundle, device, options)
        provider = settings.provider
        open_model = partial(_open_model, bundle.path, settings)
        schemas = schema_guide(bundle.path, settings.vocabulary)
        fix = f"qdeploy verify {bundle.path}"
        with translated(f"loading on {provider.name}", where=bundle.path, fix=fix):
            if settings.loop == "own":
                model = open_model()
                nodes = [n for s in model.sessions() for n in assigned_nodes(s)]
                placement = prove_placement(nodes, settings)
                session = OnnxRuntimeSession(settings, placement, lambda: model, None, schemas)
            elif settings.concurrency > 1:
                slots = Slots(bundle.path, settings, settings.concurrency)
                placement = prove_placement(assigned_nodes(slots.session), settings)
                batch = Batch(slots, device.name)
                session = OnnxRuntimeSession(settings, placement, open_model, batch, schemas)
            else:
                # onnxruntime-genai does not expose its session, so an equal one shows the placement
                graph = bundle.path / generating_graph(bundle.path)
                nodes = assigned_nodes(open_session(graph, settings))
                placement = prove_placement(nodes, settings)
                loop = GenaiLoop(bundle.path, settings)
                session = OnnxRuntimeSession(settings, placement, open_model, loop, schemas)
            if session.context > len(WARM_UP.prompt_ids):
                for _ in session.generate(WARM_UP):
                    pass
        return session

    def load_encoder(self, bundle: Bundle, device: Device, options: LoadOptions) -> Encoder:
        settings = self._settings(bundle, device, options)
        fix = f"qdeploy verify {bundle.path}"
        with translated(f"loading on {settings.provider.name}", where=bundle.path, fix=fix):
            session = open_session(bundle.path / ONNX.files["model"], settings)
            placement = prove_placement(assigned_nodes(session), settings)
            encoder = OnnxRuntimeEncoder(session, settings, placement)
            encoder.encode(WARM_UP_BATCH)
        return encoder

    def _settings(self, bundle: Bundle, device: Device, options: LoadOptions) -> Settings:
        simulated = device.evidence is Evidence.SIMULATED
        target = next(t for t in self.targets if t.name == device.target)
        provider = simulated_devices.provider(target) if simulated else of(device)
        return with_cache(
            resolve_settings(bundle.manifest, provider, device, options), options.cache_dir,
            bundle=bundle.digest, versions=runtime.versions(provider),
        )  # fmt: skip


def _refusal(provider: Provider, plan: Plan) -> str | None:
    """Why a provider cannot run the plan; None where it can."""
    if plan.format not in provider.formats:
        known = " and ".join(provider.formats)
        return f"{provider.name} takes {known}, not {plan.format}"
    form, wanted = plan.profile.graph.experts, provider.experts
    contrib_moe = plan.checkpoint.config.is_moe and plan.format == ONNX.name
    if contrib_moe and wanted not in (None, form):
        return f"{provider.name} runs experts that are {wanted!r}, not {form!r}"
    return None


def _open_model(folder: Path, settings: Settings) -> Model:
    return MODELS[settings.format](folder, settings)
