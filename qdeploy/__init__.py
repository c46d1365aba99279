"""qdeploy: one Qwen3 checkpoint on many kinds of hardware.

The same steps as on the command line, from Python:

    import qdeploy

    bundle = qdeploy.export("qwen3-nano", target="cpu", output="nano")
    with qdeploy.load(bundle) as model:
        print(model.chat("What is 12 + 30?", thinking=True).text)

`export`, `open`, `load` and `plan` are documented in `qdeploy.deploy.api`, what `load` returns in
`qdeploy.deploy.loaded_models`. Every error is a `QdeployError`; `qdeploy.errors` lists its
subclasses. The contracts of backends and exporters are in `qdeploy.interface`.

Importing this package imports nothing else. A name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle as Bundle
    from qdeploy.deploy.api import export as export
    from qdeploy.deploy.api import load as load
    from qdeploy.deploy.api import open as open  # noqa: A004
    from qdeploy.deploy.api import plan as plan
    from qdeploy.deploy.loaded_models.answers import Answer as Answer
    from qdeploy.deploy.loaded_models.answers import Ranked as Ranked
    from qdeploy.deploy.loaded_models.model import Model as Model
    from qdeploy.errors import QdeployError as QdeployError
    from qdeploy.generation.pieces import Piece as Piece
    from qdeploy.interface import Placement as Placement
    from qdeploy.planning.plan import Plan as Plan

_HOMES = {
    "export": "qdeploy.deploy.api",
    "load": "qdeploy.deploy.api",
    "open": "qdeploy.deploy.api",
    "plan": "qdeploy.deploy.api",
    "Answer": "qdeploy.deploy.loaded_models.answers",
    "Bundle": "qdeploy.bundle",
    "Model": "qdeploy.deploy.loaded_models.model",
    "Piece": "qdeploy.generation.pieces",
    "Placement": "qdeploy.interface",
    "Plan": "qdeploy.planning.plan",
    "QdeployError": "qdeploy.errors",
    "Ranked": "qdeploy.deploy.loaded_models.answers",
}
"""The module that defines each public name."""

__all__ = [
    "Answer", "Bundle", "Model", "Piece", "Placement", "Plan", "QdeployError", "Ranked", "export",
    "load", "open", "plan",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
