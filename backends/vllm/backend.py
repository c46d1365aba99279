"""The backend: finds devices, starts a server for a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdeploy.backends.vllm import devices, runtime
from qdeploy.backends.vllm.session import open_session
from qdeploy.backends.vllm.settings import resolve_settings
from qdeploy.engines.vllm import environment, forms
from qdeploy.engines.vllm.command import PLATFORMS
from qdeploy.interface import Backend, Device, LoadOptions, Session
from qdeploy.planning.formats import SAFETENSORS
from qdeploy.targets import ASCEND, CPU, CUDA, DCU, ROCM, Target

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.planning.plan import Plan


class VllmBackend(Backend):
    """vLLM as the engine of a bundle: many requests at once."""

    name = "vllm"
    formats = (SAFETENSORS.name,)
    targets = (CUDA, ROCM, DCU, ASCEND, CPU)
    starts_slowly = True
    splits = batches = True

    def is_installed(self) -> bool:
        return environment.is_installed()

    def is_default_for(self, target: Target) -> bool:
        """On a CPU others answer one request faster, and start in seconds."""
        return self.is_installed() and environment.is_installed(target.name) and target != CPU

    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        return devices.find(target, simulate=simulate)

    def why_not(self, plan: Plan) -> str | None:
        if plan.format not in self.formats:
            return f"it loads the format {SAFETENSORS.name}, and this plan's is {plan.format}"
        if plan.target.name not in PLATFORMS:
            return f"it serves {', '.join(PLATFORMS)}, and not {plan.target.name}"
        return forms.why_not(plan)

    def refuses(self, bundle: Bundle, target: Target) -> str | None:
        return forms.why_not_bundle(bundle, target)

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        settings = resolve_settings(bundle, device, options)
        found = environment.find(device.target, settings.python)
        return open_session(runtime.start(bundle, found, settings), settings)
