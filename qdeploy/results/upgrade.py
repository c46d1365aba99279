"""Upgrade of results written by older versions of qdeploy, applied to the parsed JSON.

Each entry of `UPGRADES` turns one schema version into the next. The result is validated afterwards,
so an upgrade renames the keys it knows and leaves everything else unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Json = Mapping[str, Any]

ROW_KEYS_2 = {
    "subject": "artifact",
    "where": "environment",
    "gap_ms": "inter_token_latency_ms",
    "bandwidth_share": "memory_bandwidth_utilization",
}
"""New names of keys in schema version 2, by the name in version 1."""


def upgrade_results(content: Json) -> Json:
    """Upgrade the content of a results file to the current schema version."""
    while True:
        number = content.get("schema_version", 1)
        if not isinstance(number, int) or number not in UPGRADES:
            return content
        content = {**UPGRADES[number](content), "schema_version": number + 1}


def upgrade_report(content: Json) -> Json:
    """Upgrade the content of `report.json`, whose version is that of the results files in it."""
    number = content.get("schema_version", 1)
    if not isinstance(number, int) or number not in UPGRADES:
        return content
    upgraded = _with_each(content, "files", upgrade_results)
    return {**upgraded, "schema_version": max(UPGRADES) + 1}


def _from_1(content: Json) -> Json:
    return _with_each(content, "results", _row_from_1)


def _row_from_1(row: Json) -> Json:
    row = _renamed(row, ROW_KEYS_2)
    row = _with(row, "artifact", _artifact_from_1)
    row = _with(row, "conditions", _steal_from_1)
    row = _with_each(row, "processes", _steal_from_1)
    for samples in ("samples", "peer_samples"):
        row = _with_each(row, samples, _sample_from_1)
    return row


def _artifact_from_1(artifact: Json) -> Json:
    return _renamed(artifact, {"digest": "checkpoint_digest"})


def _steal_from_1(conditions: Json) -> Json:
    return _renamed(conditions, {"steal": "cpu_steal"})


def _sample_from_1(sample: Json) -> Json:
    return _renamed(sample, {"gaps_ms": "inter_token_latencies_ms"})


def _from_2(content: Json) -> Json:
    """Version 3 added the kind `load`, which older versions of qdeploy do not know."""
    return content


def _from_3(content: Json) -> Json:
    """Version 4 added intervals of KL and whether weights were calibrated: absent, none and no."""
    return content


UPGRADES: Mapping[int, Callable[[Json], Json]] = {1: _from_1, 2: _from_2, 3: _from_3}
"""By the schema version that is upgraded to the next one."""


def _renamed(content: Json, names: Mapping[str, str]) -> Json:
    return {names.get(key, key): value for key, value in content.items()}


def _with(content: Json, key: str, change: Callable[[Json], Json]) -> Json:
    value = content.get(key)
    return {**content, key: change(value)} if isinstance(value, dict) else content


def _with_each(content: Json, key: str, change: Callable[[Json], Json]) -> Json:
    values = content.get(key)
    if not isinstance(values, list):
        return content
    return {**content, key: [change(v) if isinstance(v, dict) else v for v in values]}
