"""Making, reading and writing files of results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qdeploy.errors import InputError, OutputError
from qdeploy.results.model import Machine, Result, Results
from qdeploy.storage.atomic import write_file
from qdeploy.storage.json_file import build_versioned, read_json

FIX = "give a file that qdeploy bench, eval, doctor or matrix wrote"


def make_results(machine: Machine, rows: Sequence[Result]) -> Results:
    """Put results into a file's content, of this moment and by this version of qdeploy."""
    return Results(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        qdeploy=version("qdeploy"),
        machine=machine,
        results=tuple(rows),
    )


def write_results(results: Results, path: Path) -> None:
    """Write a file of results, whole or not at all.

    Raises:
        OutputError: it cannot be written there.
    """
    try:
        write_file(path, (results.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise OutputError(f"the file cannot be written ({error.strerror})", where=path) from None


def read_results(path: Path) -> Results:
    """Read a file of results.

    Raises:
        InputError: no such file, of a newer schema, or not a file of results.
    """
    return parse_results(read_json(path, error=InputError), path)


def parse_results(content: Mapping[str, Any], path: Path) -> Results:
    """Build results from what the file *path* holds.

    Raises:
        InputError: of a newer schema, or not a file of results.
    """
    return build_versioned(Results, content, noun="file of results", where=path, fix=FIX)


def results_schema() -> str:
    """The published JSON schema of a file of results."""
    return json.dumps(Results.model_json_schema(), indent=1) + "\n"
