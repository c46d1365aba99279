"""A backend: the adapter to one runtime. It finds devices and loads bundles on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from qdeploy.errors import InputError
from qdeploy.targets import Target

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.interface.device import Device, LoadOptions
    from qdeploy.interface.encoder import Encoder
    from qdeploy.interface.peer import Peer
    from qdeploy.interface.session import Session
    from qdeploy.planning.plan import Plan
    from qdeploy.system.energy import Meter


class Backend(ABC):
    """The adapter to one runtime."""

    name: ClassVar[str]
    """The word on the command line."""
    formats: ClassVar[tuple[str, ...]]
    """Bundle formats that it loads."""
    targets: ClassVar[tuple[Target, ...]]
    """Targets that it serves."""
    simulates: ClassVar[frozenset[str]] = frozenset()
    """Names of the targets that it can simulate, which happens on explicit request only."""
    slow: ClassVar[frozenset[str]] = frozenset()
    """Names of those of which tests ask the essential only: a token takes seconds on the simulated
    device, or that of another target runs the same kernels."""
    starts_slowly: ClassVar[bool] = False
    """Whether a load takes half a minute and more, so that tests load shipped profiles only."""
    splits: ClassVar[bool] = False
    """Whether it spreads a model over several devices of a target, `LoadOptions.devices`."""
    batches: ClassVar[bool] = False
    """Whether its sessions serve several requests at once, on some of its devices at least."""
    addressed: ClassVar[bool] = False
    """Whether its devices are servers, which `device_at` finds by their addresses. The server has
    the weights, so a bundle may be of any format."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions belong in reports, e.g. `openvino`."""
    peers: ClassVar[tuple[Peer, ...]] = ()
    """Libraries that run bundles without qdeploy, for `qdeploy bench --peer`."""
    meters: ClassVar[Mapping[str, Callable[[Target, Device], Meter]]] = {}
    """Energy meters by name, for targets that name them. One raises `NoMeter` with the reason."""

    def is_installed(self) -> bool:
        """Return whether the runtime's packages are installed. Imports and probes nothing."""
        return True

    def is_default_for(self, target: Target) -> bool:
        """Return whether the default profile of *target* may be one of this backend's.

        True where the runtime is installed. A backend overrides it for machines on which it was
        measured slower than others that serve the target. Imports and probes nothing.
        """
        return self.is_installed()

    @abstractmethod
    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        """Return the devices of *target* on this machine, at least one.

        With *simulate*, return the simulated device instead, and only that.

        Raises:
            TargetUnavailable: runtime, driver or hardware is absent (reason and fix).
        """

    def device_at(self, target: Target, address: str) -> Device:
        """Return the server at *address*, as it describes itself. Only one that is `addressed`.

        Raises:
            TargetUnavailable: it does not answer.
            InputError: that is no address.
        """
        raise NotImplementedError

    @abstractmethod
    def why_not(self, plan: Plan) -> str | None:
        """Return why *plan* cannot run on this backend, or None if it can. Loads nothing."""

    def refuses(self, bundle: Bundle, target: Target) -> str | None:
        """Return why *bundle*, of a format that it loads, cannot run on *target*, or None.

        For what its runtime has no kernel for, here. Reads small files at most.
        """
        return None

    @abstractmethod
    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        """Load *bundle* on *device*.

        Raises:
            PlacementError: the runtime put the work elsewhere.
            GenerationFailed: the runtime could not load it.
        """

    def load_encoder(self, bundle: Bundle, device: Device, options: LoadOptions) -> Encoder:
        """Like `load`, for a bundle of an embedding or reranking model.

        Raises:
            InputError: the backend runs models that generate only.
            PlacementError: the runtime put the work elsewhere.
            GenerationFailed: the runtime could not load it.
        """
        task = bundle.manifest.task.name
        raise InputError(
            f"backend {self.name!r} runs models that generate, and this one is to {task}",
            where=bundle.path,
            fix="choose another with --backend, or export it for another target",
        )
