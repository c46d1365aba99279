"""The backend: finds devices, loads bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from qdeploy.backends.torch import devices, runtime
from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.accelerators.table import ACCELERATORS
from qdeploy.backends.torch.engine.load import load_decoder
from qdeploy.backends.torch.errors import translated
from qdeploy.backends.torch.peer import PEER
from qdeploy.backends.torch.placement import prove_placement
from qdeploy.backends.torch.session import TorchSession
from qdeploy.backends.torch.settings import resolve_settings
from qdeploy.backends.torch.simulated import devices as simulated
from qdeploy.interface import Backend, Device, LoadOptions, Request, Session
from qdeploy.interface.schema import schema_guide
from qdeploy.planning.formats import SAFETENSORS
from qdeploy.targets import DCU, ROCM, Target

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.planning.plan import Plan

WARM_UP = Request(prompt_ids=(0, 0), max_new_tokens=2)
"""A prefill and a step: libraries are loaded and buffers allocated at the first."""


class TorchBackend(Backend):
    """The accelerators of PyTorch that have a row in `accelerators.table`.

    A third party's accelerator is a subclass with rows, targets and devices of its own.
    """

    name = "torch"
    accelerators: ClassVar[Mapping[Target, type[Accelerator]]] = ACCELERATORS
    formats = (SAFETENSORS.name,)
    targets = tuple(ACCELERATORS)
    simulates = frozenset(t.name for t in ACCELERATORS) & simulated.TARGETS
    slow = frozenset({ROCM.name, DCU.name})  # CUDA's kernels, translated
    splits = True
    requires = ("torch", "torch-npu")
    peers = (PEER,)

    def is_installed(self) -> bool:
        return runtime.is_installed()

    def is_default_for(self, target: Target) -> bool:
        return self.is_installed() and self.accelerators[target].is_fast_here()

    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        return simulated.find(target) if simulate else devices.find(target)

    def why_not(self, plan: Plan) -> str | None:
        if plan.format not in self.formats:
            return f"it loads the format {SAFETENSORS.name}, and this plan's is {plan.format}"
        if plan.target not in self.targets:
            known = ", ".join(target.name for target in self.targets)
            return f"it serves {known}, and not {plan.target.name}"
        return None

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        accelerator = self._accelerator(device, *options.devices[1:])
        settings = resolve_settings(bundle.manifest, accelerator, device, options)
        fix = f"qdeploy verify {bundle.path}"
        loading = translated(f"loading on {device.id}", where=bundle.path, fix=fix)
        with loading, runtime.computing(settings.threads):
            if settings.simulated:
                for each in (device, *settings.more):
                    simulated.prepare(each)
            else:
                accelerator.prepare()
            decoder, kernels = load_decoder(bundle.path, accelerator, settings)
            tuned = accelerator.tune(settings.few_rows)
            placement = prove_placement(decoder, kernels, settings, tuned)
            schemas = schema_guide(bundle.path, settings.vocabulary)
            session = TorchSession(decoder, accelerator, placement, settings, schemas)
            if session.context > len(WARM_UP.prompt_ids):
                for _ in session.generate(WARM_UP):
                    pass
        return session

    def _accelerator(self, device: Device, *more: Device) -> Accelerator:
        """The accelerator of devices of one target that this backend found."""
        kinds = (kind for row, kind in self.accelerators.items() if row.name == device.target)
        architectures = [each.architecture or "" for each in (device, *more)]
        return next(kinds)(device.id.partition(":")[0], *architectures)
