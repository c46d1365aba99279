"""Plans and bundles of the scripted runtime, from checkpoints without weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qdeploy.bundle import MANIFEST, Bundle
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.deploy.export import export
from qdeploy.interface import Progress
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import parse_profile
from tests.support.checkpoints import SMALL, write_checkpoint
from tests.support.scripted import HERE, SCRIPT, ScriptedExporter

PROFILE = """\
schema = 1
target = "{target}"
format = "script"
why = "For tests."

[weights.linear]
dtype = "fp16"

[kv_cache]
dtype = "fp16"

[runtime.properties]
"""


def profile_text(target: str = HERE.name, **script: Any) -> str:
    """Return a profile in TOML whose runtime properties are the script of the runtime."""
    return PROFILE.format(target=target) + "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in script.items()
    )


def scripted_plan(
    folder: Path, config: Mapping[str, Any] = SMALL, *, name: str = "made-up", **script: Any
) -> Plan:
    """Plan the checkpoint in *folder*, written there if missing, for the scripted runtime."""
    if not folder.exists():
        write_checkpoint(folder, config)
    found = read_checkpoint(folder, name=name)
    written = parse_profile(profile_text(**script), "scripted", where="a test")
    return make_plan(found, written, HERE, format_row=SCRIPT)


def scripted_bundle(place: Path, model: Path | None = None, **script: Any) -> Bundle:
    """Export a checkpoint to *place*. Where none is given, write one beside it."""
    resolved = scripted_plan(model or place.with_name(f"{place.name}-checkpoint"), **script)
    return export(resolved, ScriptedExporter(), place, Progress(), force=False)


def read_manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return found


def write_manifest(folder: Path, content: object) -> None:
    (folder / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
