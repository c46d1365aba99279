"""Results of many machines in one file, which is what a report is made of and can be made of again.

The file keeps everything, raw samples too: the page is a view of it.
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
HOW = "qdeploy bench BUNDLE -o FILE makes one"


class Merged(Strict):
    """Files of results, side by side.

    Attributes:
        kind: tells this file from one of results.
        created: UTC time in ISO 8601.
        qdeploy: version of qdeploy that merged them.
    """

    kind: Literal["qdeploy-report"] = KIND
    schema_version: Literal[2] = 2
    created: str
    qdeploy: str
    files: tuple[Results, ...]


def merge(files: Iterable[Results]) -> Merged:
    """Put files side by side, in the order given; of equal ones, the first stays."""
    unique = {file.model_dump_json(): file for file in files}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Merged(created=now, qdeploy=version("qdeploy"), files=tuple(unique.values()))


def read(paths: Sequence[Path]) -> list[Results]:
    """Read files of results, reports, and the `*.json` of folders, in the order given.

    Raises:
        InputError: a path that is missing or is neither; no file at all; or files without a result.
    """
    found: list[Results] = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise InputError("no file of results in this folder", where=path, fix=HOW)
        for file in files:
            found += _read(file)
    if not any(file.results for file in found):
        where = ", ".join(map(str, paths))
        raise InputError("there is no result in these files", where=where, fix=HOW)
    return found


def _read(file: Path) -> Sequence[Results]:
    content = read_json(file, error=InputError, fix=HOW)
    if content.get("kind") != KIND:
        return [parse_results(content, file)]
    upgraded = upgrade_report(content)
    return build_versioned(Merged, upgraded, noun="report", where=file, fix=HOW).files


def schema() -> str:
    """The published JSON schema of `report.json`."""
    return json.dumps(Merged.model_json_schema(), indent=1) + "\n"
