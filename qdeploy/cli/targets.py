"""`qdeploy targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.interface import Backend
    from qdeploy.targets import Target

NO_BACKEND = "no installed backend serves it"


@click.command("targets")
@options.as_json
def command(as_json: bool) -> None:
    """List every target, the backends that serve it, and the devices found here.

    Evidence is `device` where the hardware was found, and `none` where it was not, with the reason
    and the fix.
    """
    from qdeploy import registry

    rows = [row for target in registry.targets().values() for row in _rows(target)]
    if as_json:
        output.write_json({"targets": rows})
        return
    table = output.table("target", "backend", "device", "memory", "evidence", "reason and fix")
    for row in rows:
        memory = output.size(row["memory_bytes"]) if row["memory_bytes"] else ""
        why = "\n".join(str(row[k]) for k in ("reason", "fix") if row[k])
        table.add_row(row["target"], row["backend"], row["device"], memory, row["evidence"], why)
    output.console().print(table)


def _rows(target: Target) -> list[dict[str, Any]]:
    from qdeploy import registry

    serving = registry.backends_for(target)
    if not serving:
        return [_row(target, reason=NO_BACKEND, fix="install a backend that does")]
    return [row for backend in serving for row in _probe(target, backend)]


def _probe(target: Target, backend: Backend) -> list[dict[str, Any]]:
    from qdeploy.errors import TargetUnavailable

    try:
        found = backend.devices(target)
    except TargetUnavailable as error:
        return [_row(target, backend=backend.name, reason=error.reason, fix=error.fix)]
    return [
        _row(
            target,
            backend=backend.name,
            device=f"{device.id}: {device.name}",
            memory_bytes=device.memory_bytes,
            driver=device.driver,
            architecture=device.architecture,
            evidence=str(device.evidence),
        )
        for device in found
    ]


def _row(target: Target, **known: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("backend", "device", "memory_bytes", "driver", "architecture", "reason", "fix")
    )
    return {"target": target.name, "title": target.title, **empty, "evidence": "none", **known}
