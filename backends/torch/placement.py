"""Proof of placement: the device of what every operator made, as torch's dispatcher reports it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from qdeploy.backends.torch.engine.decoder import Decoder
from qdeploy.backends.torch.settings import Settings
from qdeploy.errors import PlacementError
from qdeploy.interface import Placement

PROOF = "the device of every operator's result in a pass, from torch's dispatcher"
PROBE = (0, 0)
"""Token ids of the pass that is observed; fewer where the context holds fewer."""
COPIES = frozenset({"aten::to", "aten::_to_copy", "aten::copy_", "aten::_copy_from", "aten::clone"})
"""Copies between host and device; token ids go in and logits come out on the host."""
HOST_ONLY = frozenset(
    f"aten::{name}"
    for name in "detach detach_ lift_fresh alias view resolve_conj resolve_neg".split()
)
NAMED = 4


def prove_placement(
    decoder: Decoder, kernels: Mapping[str, int], settings: Settings, tuned: Sequence[str] = ()
) -> Placement:
    """Run one pass and return where its operators ran.

    Args:
        decoder: the loaded model.
        kernels: how many layers each kernel holds, by its name.
        settings: those of the session.
        tuned: what the accelerator has chosen, in its words.

    Raises:
        PlacementError: an operator ran on another device than asked.
    """
    ran = _operators(decoder, PROBE[: settings.context])
    wanted = settings.devices
    strays = Counter({(d, name): n for (d, name), n in ran.items() if d not in wanted})
    if strays and not settings.allow_fallback:
        listed = ", ".join(f"{name} on {d}" for (d, name), _ in strays.most_common(NAMED))
        raise PlacementError(
            f"{sum(strays.values())} operators did not run on {', '.join(wanted)}: {listed}",
            where=settings.device.name,
            fix="report it, or --allow-fallback to run it anyway",
        )
    nodes: Counter[str] = Counter()
    for (device, _), count in ran.items():
        nodes[device] += count
    names = settings.names if settings.simulated else wanted
    elsewhere = dict.fromkeys(d for d, _ in strays)
    held = ", ".join(f"{count} x {name}" for name, count in sorted(kernels.items()))
    return Placement(
        (*names, *elsewhere),
        settings.device.evidence,
        "; ".join((f"{PROOF}; layers by kernel: {held}", *tuned)),
        dict(nodes.most_common()),
        tuple(f"{name} on {d}" for d, name in strays),
        settings.threads if settings.on_host else None,
    )


def _operators(decoder: Decoder, ids: Sequence[int]) -> Counter[tuple[str, str]]:
    """How often each operator ran on each device in one pass."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    ran: Counter[tuple[str, str]] = Counter()

    class Observer(TorchDispatchMode):  # type: ignore[misc]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Keep torch from importing its compiler for this: a second, and 100 MB."""
            return False

        def __torch_dispatch__(
            self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            made = operator(*args, **(kwargs or {}))
            name = operator._schema.name
            if name not in COPIES | HOST_ONLY:
                for leaf in tree_leaves(made):
                    if isinstance(leaf, torch.Tensor):
                        ran[str(leaf.device), name] += 1
            return made

    decoder.begin(len(ids))
    with Observer():
        decoder.feed(ids)
    return ran
