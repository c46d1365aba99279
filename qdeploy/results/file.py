"""Create, read and write results files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qdeploy.errors import InputError, OutputError
from qdeploy.results.model import Result, Results
from qdeploy.results.subject import Machine
from qdeploy.results.upgrade import upgrade_results
from qdeploy.storage.atomic import write_file
from qdeploy.storage.json_file import build_versioned, read_json

FIX = "give a file that qdeploy bench, eval, doctor or matrix wrote"


def make_results(machine: Machine, rows: Sequence[Result]) -> Results:
    """Create the content of a results file, dated now."""
    return Results(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        qdeploy=version("qdeploy"),
        machine=machine,
        results=tuple(rows),
    )


def write_results(results: Results, path: Path) -> None:
    """Write a results file atomically, always of the current schema version.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        write_file(path, (results.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise OutputError(
            f"the file cannot be written ({error.strerror})",
            where=path,
            fix="free space, or give another -o FILE",
        ) from None


def read_results(path: Path) -> Results:
    """Read a results file of this or an older schema version.

    Raises:
        InputError: the file is missing, has a newer schema version, or is not a results file.
    """
    return parse_results(read_json(path, error=InputError), path)


def parse_results(content: Mapping[str, Any], path: Path) -> Results:
    """Build results from the parsed content of the file *path*, upgrading an older schema version.

    Raises:
        InputError: the content has a newer schema version, or is not that of a results file.
    """
    content = upgrade_results(content)
    return build_versioned(Results, content, noun="file of results", where=path, fix=FIX)


def results_schema() -> str:
    """The published JSON schema of a results file."""
    return json.dumps(Results.model_json_schema(), indent=1) + "\n"
