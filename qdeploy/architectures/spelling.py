"""One `config.json` under the names of the table, whichever version of transformers wrote it.

Two names of one fact that disagree are decided as transformers 5 decides them, with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

ALIASES = {"num_local_experts": "num_experts"}
"""Names that transformers 5 writes, and those of transformers 4 and of the hub."""
ACTIVATIONS = {"swish": "silu"}
"""Two names of one activation in transformers, and the one of the hub."""
PLAIN = (None, "default")
"""Types of rotary positions that are not scaled."""
TRAINED = "original_max_position_embeddings"
OF_TRAINED = ("llama3", "yarn")
"""Types of scaling for which transformers puts a `TRAINED` beside them before their own."""


class Spelled(NamedTuple):
    """The content of a `config.json` under the names of the table, and what was decided."""

    content: dict[str, Any]
    warnings: tuple[str, ...]


def spell(raw: Mapping[str, Any]) -> Spelled:
    """Give every fact the name that `ModelConfig` reads it by."""
    content, warnings = dict(raw), list[str]()
    for new, old in ALIASES.items():
        if content.get(new) is not None:
            if content.get(old) not in (None, content[new]):
                warnings.append(_decided(new, content[new], old, content[old]))
            content[old] = content.pop(new)
    if (activation := content.get("hidden_act")) in (*ACTIVATIONS,):
        content["hidden_act"] = ACTIVATIONS[activation]
    warnings += _spell_rope(content)
    if content.get("rope_theta") is None:
        content.pop("rope_theta", None)
    return Spelled(content, tuple(warnings))


def _spell_rope(content: dict[str, Any]) -> list[str]:
    """Make `rope_theta` and `rope_scaling` of them and of `rope_parameters`.

    Transformers 5 writes both under one key; version 4 and published checkpoints use two. The old
    key of scaling precedes the new key, and a theta in either precedes the old theta.
    """
    new = content.get("rope_parameters")
    rope = content.get("rope_scaling") or new
    if not isinstance(rope, dict):
        return []
    warnings = []
    inner, outer = rope.get("rope_theta"), content.get("rope_theta")
    if isinstance(new, dict) and rope is not new:
        if _scaling(rope) != _scaling(new):
            warnings.append(_decided("rope_scaling", rope, "rope_parameters", new))
        theta, other = (outer if inner is None else inner), new.get("rope_theta")
        if None not in (theta, other) and theta != other:
            warnings.append(_decided("rope_theta", theta, "rope_parameters.rope_theta", other))
    if None not in (inner, outer) and inner != outer:
        place = "rope_parameters" if rope is new else "rope_scaling"
        warnings.append(_decided(f"{place}.rope_theta", inner, "rope_theta", outer))
    kinds = rope.get("rope_type"), rope.get("type")
    if None not in kinds and kinds[0] != kinds[1]:
        warnings.append(_decided("rope_type", kinds[0], "type", kinds[1]))
    rope, decided = _with_trained(rope, content.get(TRAINED))
    warnings += decided
    content["rope_scaling"] = rope if _scaling(rope) else None
    if inner is not None:
        content["rope_theta"] = inner
    return warnings


def _with_trained(rope: dict[str, Any], beside: object) -> tuple[dict[str, Any], list[str]]:
    """*rope* with the number of positions before scaling that stands *beside* it, if one does."""
    if beside is None or _scaling(rope).get("rope_type") not in OF_TRAINED:
        return rope, []
    own = rope.get(TRAINED)
    place = f"{TRAINED} in rope_scaling"
    warnings = [] if own in (None, beside) else [_decided(TRAINED, beside, place, own)]
    return {**rope, TRAINED: beside}, warnings


def _scaling(rope: Mapping[str, Any]) -> dict[str, Any]:
    """What *rope* says of scaling; empty for positions that are not scaled."""
    kind = rope.get("rope_type", rope.get("type"))
    if kind in PLAIN:
        return {}
    rest = {k: v for k, v in rope.items() if k not in ("rope_theta", "rope_type", "type")}
    return {**rest, "rope_type": kind}


def _decided(counts: str, value: object, other: str, ignored: object) -> str:
    return (
        f"config.json says {counts} = {value!r} and {other} = {ignored!r}; {counts} counts, as in "
        "transformers"
    )
