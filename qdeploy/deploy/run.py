"""Run: find a backend and a device for a bundle, and load the one on the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, TypeVar

from qdeploy import registry
from qdeploy.bundle import Bundle
from qdeploy.deploy import cache
from qdeploy.deploy.picking import is_address, picked
from qdeploy.deploy.refusals import check_kernels, check_task
from qdeploy.deploy.shortage import telling_memory
from qdeploy.errors import (
    InputError,
    PlanError,
    QdeployError,
    TargetUnavailable,
)
from qdeploy.interface import Backend, Device, Encoder, LoadOptions, Property, Session
from qdeploy.interface.loaded import Loaded
from qdeploy.planning import constraints
from qdeploy.planning.context import check_context
from qdeploy.targets import Evidence, Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

L = TypeVar("L", bound=Loaded)
Which = int | str | Sequence[int | str]
"""A device by its place in the list or its id; or several, in order, that share the model."""


@dataclass(frozen=True)
class Choice:
    """The target, backend and device that a bundle runs on.

    Attributes:
        more: the further devices that it is spread over.
    """

    target: Target
    backend: Backend
    device: Device
    more: tuple[Device, ...] = ()

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices, in order."""
        return (self.device, *self.more)

    @property
    def device_names(self) -> str:
        """The devices' names in one phrase, e.g. `2 x NVIDIA L4`."""
        counts = Counter(device.name for device in self.devices)
        return " + ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items())


def choose(
    bundle: Bundle,
    *,
    target: str | None = None,
    backend: str | None = None,
    device: Which = 0,
    simulate: bool = False,
    concurrency: int = 1,
) -> Choice:
    """Choose where *bundle* runs. The default is the target that it was exported for.

    A device that is an address, e.g. `http://127.0.0.1:8000/v1`, names its target, too. With a
    *concurrency* above 1, backends that batch come before others.

    Raises:
        InputError: names that do not go together.
        TargetUnavailable: no backend finds the target here; it has the reason of each.
    """
    manifest = bundle.manifest
    chosen = registry.target(target or _target_at(device) or manifest.target)
    linear = manifest.profile.linear_for(manifest.model.parameters, moe=manifest.model.experts > 0)
    task = manifest.task.name
    if broken := constraints.broken_by(manifest.profile, chosen, linear, task):
        raise PlanError(
            f"this bundle cannot run on {chosen.name}: {broken.reason}",
            where=bundle.path,
            fix=f"export it for that target: --target {chosen.name}",
        )

    def batches(candidate: Backend) -> bool:
        return candidate.batches and candidate.refuses(bundle, chosen) is None

    return find_device(
        chosen,
        manifest.format,
        backend=backend,
        device=device,
        simulate=simulate,
        preferred=batches if concurrency > 1 else None,
    )


def _target_at(device: Which) -> str | None:
    """The target of servers, if *device* is the address of one."""
    if not (isinstance(device, str) and is_address(device)):
        return None
    servers = (b for b in registry.backends().values() if b.addressed)
    return next((backend.targets[0].name for backend in servers), None)


def find_device(
    target: Target,
    format: str,
    *,
    backend: str | None,
    device: Which,
    simulate: bool,
    preferred: Callable[[Backend], bool] | None = None,
) -> Choice:
    """Find the device for a bundle format on a target; `choose` has the arguments.

    Backends for which *preferred* is true come before others.

    Raises:
        InputError: names that do not go together.
        TargetUnavailable: no backend finds the target here; it has the reason of each.
    """
    candidates = registry.backends_for(target, format=format)
    if backend is not None:
        candidates = [b for b in candidates if b.name == registry.backend(backend).name]
    if not candidates:
        who = f"backend {backend!r}" if backend else "no installed backend"
        verb = "does not run" if backend else "runs"
        raise InputError(
            f"{who} {verb} the format {format!r} on {target.name}",
            fix=_other_way(target, format, backend),
        )
    wanted = [device] if isinstance(device, int | str) else list(device)
    if len(wanted) > 1:
        candidates = _splitting(candidates, target, format, len(wanted))
    if preferred is not None:
        candidates = sorted(candidates, key=preferred, reverse=True)
    absent: list[TargetUnavailable] = []
    for candidate in candidates:
        try:
            first, *more = _devices(candidate, target, wanted, simulate)
        except TargetUnavailable as error:
            absent.append(error)
            continue
        return Choice(target, candidate, first, tuple(more))
    raise TargetUnavailable(
        "; ".join(e.reason for e in absent),
        " / ".join(dict.fromkeys(e.fix or "" for e in absent)),
        where=target.name,
    )


def _devices(
    backend: Backend, target: Target, wanted: Sequence[int | str], simulate: bool
) -> list[Device]:
    """Return the devices of a backend that are *wanted*: found, or at an address.

    Raises:
        InputError: one of them is not there, or is given twice.
        TargetUnavailable: the target is absent.
    """
    if backend.addressed and wanted and all(map(is_address, wanted)):
        return [backend.device_at(target, str(address)) for address in wanted]
    return picked(backend.devices(target, simulate=simulate), wanted)


def _other_way(target: Target, format: str, backend: str | None) -> str:
    """What to change where no backend, or not the named one, runs a format on a target."""
    able = [b.name for b in registry.backends_for(target, format=format)]
    if backend and able:
        return f"--backend {' or '.join(able)}, or leave it out"
    targets = [
        t.name for t in registry.targets().values() if registry.backends_for(t, format=format)
    ]
    export = f"export the model for it: qdeploy export MODEL --target {target.name}"
    return f"{export}; this bundle runs on {', '.join(targets)}" if targets else export


def _splitting(
    candidates: list[Backend], target: Target, format: str, wanted: int
) -> list[Backend]:
    """Return those backends that spread a model over several devices.

    Raises:
        InputError: none of them does.
    """
    able = [b for b in candidates if b.splits]
    if not able:
        others = [b.name for b in registry.backends_for(target, format=format) if b.splits]
        names = " and ".join(repr(b.name) for b in candidates)
        raise InputError(
            f"{wanted} devices are given, and a model runs on one device with {names}",
            where=target.name,
            fix=f"--backend {' or '.join(others)}" if others else "give one, with --device",
        )
    return able


class Asked(TypedDict, total=False):
    """What a user asks of a load.

    Attributes:
        context: most tokens that it must hold; None is what the bundle was exported for.
        properties: runtime settings that override the profile's.
        allow_fallback: heavy operators may run elsewhere; the placement then lists them.
        threads: CPU threads; None is one for each physical core that this process may use.
        concurrency: requests that should be served at once; the session says how many it serves.
    """

    context: int | None
    properties: Mapping[str, Property] | None
    allow_fallback: bool
    threads: int | None
    concurrency: int


def load(bundle: Bundle, choice: Choice, **asked: Unpack[Asked]) -> Session:
    """Load a bundle that generates, and check the evidence that the session reports.

    Raises:
        InputError: a context that the bundle was not made for, a model that does not generate, or
            weights that the backend's runtime has no kernel for.
        OutOfMemory: too little memory; the error says how much it needs and has.
        QdeployError: it runs on a simulated device where hardware was asked for, or the reverse.
    """
    check_task(bundle, "generate")
    check_kernels(bundle, choice.backend, choice.target)
    options = _options(bundle, choice, asked)
    with telling_memory(bundle, choice.device, options.context):
        return _proved(choice, choice.backend.load(bundle, choice.device, options))


def load_encoder(bundle: Bundle, choice: Choice, **asked: Unpack[Asked]) -> Encoder:
    """Like `load`, for a bundle of an embedding or reranking model.

    Raises:
        InputError: a context that the bundle was not made for, or a model that generates.
        QdeployError: it runs on a simulated device where hardware was asked for, or the reverse.
    """
    check_task(bundle, "embed", "rerank")
    options = _options(bundle, choice, asked)
    with telling_memory(bundle, choice.device, options.context):
        return _proved(choice, choice.backend.load_encoder(bundle, choice.device, options))


def _options(bundle: Bundle, choice: Choice, asked: Asked) -> LoadOptions:
    context = asked.get("context")
    check_context(
        context,
        bundle.manifest.model.context_length,
        taker="this bundle",
        where=bundle.path,
        otherwise="export with a longer --context",
    )
    return LoadOptions(
        context=context,
        properties=asked.get("properties") or {},
        cache_dir=cache.runtime_dir(),
        allow_fallback=asked.get("allow_fallback", False),
        threads=asked.get("threads"),
        devices=choice.devices,
        concurrency=asked.get("concurrency", 1),
    )


def _proved(choice: Choice, loaded: L) -> L:
    """Check the evidence of what was loaded, and return that."""
    evidence = loaded.placement().evidence
    if evidence is not choice.device.evidence:
        loaded.close()
        raise QdeployError(
            f"asked for evidence {choice.device.evidence!s}, the session reports {evidence!s}",
            where=choice.backend.name,
        )
    return loaded


def describe(choice: Choice) -> str:
    """Return target, backend and device in one phrase, and the evidence unless it is `device`."""
    phrase = f"{choice.target.name} · {choice.backend.name} · {choice.device_names}"
    if choice.device.evidence is not Evidence.DEVICE:
        phrase += f" · {choice.device.evidence}"
    return phrase
