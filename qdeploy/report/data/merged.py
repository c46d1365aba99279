"""`report.json`: the results files of a report, merged into one file.

It keeps all results, raw samples included, so `qdeploy report` accepts it as input again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from qdeploy.errors import InputError
from qdeploy.results import Results, parse_results
from qdeploy.results.upgrade import upgrade_report
from qdeploy.storage.json_file import build_versioned, read_json
from qdeploy.storage.toml_file import Strict

NAME = "report.json"
KIND: Final = "qdeploy-report"
FIX = "qdeploy bench BUNDLE -o FILE makes one"


class Merged(Strict):
    """The content of `report.json`.

    Attributes:
        kind: distinguishes this file from a results file.
        created: UTC time in ISO 8601.
        qdeploy: version of qdeploy that merged them.
    """

    kind: Literal["qdeploy-report"] = KIND
    schema_version: Literal[4] = 4
    created: str
    qdeploy: str
    files: tuple[Results, ...]


def merge_results(files: Iterable[Results]) -> Merged:
    """Merge results files in the order given; of equal files the first is kept."""
    unique = {file.model_dump_json(): file for file in files}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Merged(created=now, qdeploy=version("qdeploy"), files=tuple(unique.values()))


def read_result_files(paths: Sequence[Path]) -> list[Results]:
    """Read results files, `report.json` files, and the `*.json` of folders, in the order given.

    Raises:
        InputError: a path is missing or is none of these, a folder is empty, or the files hold no
            result.
    """
    found: list[Results] = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise InputError("no file of results in this folder", where=path, fix=FIX)
        for file in files:
            found += _read(file)
    if not any(file.results for file in found):
        where = ", ".join(map(str, paths))
        raise InputError("there is no result in these files", where=where, fix=FIX)
    return found


def _read(file: Path) -> Sequence[Results]:
    content = read_json(file, error=InputError, fix=FIX)
    if content.get("kind") != KIND:
        return [parse_results(content, file)]
    upgraded = upgrade_report(content)
    return build_versioned(Merged, upgraded, noun="report", where=file, fix=FIX).files


def report_schema() -> str:
    """The published JSON schema of `report.json`."""
    return json.dumps(Merged.model_json_schema(), indent=1) + "\n"
