"""What a target cannot run, reported at plan time with the reason.

The constraints are data in the target's row (`qdeploy.targets`). A backend's own `why_not` covers
what depends on its version.
"""

from __future__ import annotations

from qdeploy.architectures.task import TaskName
from qdeploy.errors import QdeployError
from qdeploy.planning.profile import Profile
from qdeploy.quantization.precision import Precision
from qdeploy.storage.toml_file import Strict
from qdeploy.targets import LINEAR, TASK, Constraint, Target, Values


def broken_by(
    profile: Profile, target: Target, linear: Precision, task: TaskName = "generate"
) -> Constraint | None:
    """The first constraint of *target* that the profile breaks with *linear* weights, or None.

    Raises:
        QdeployError: a constraint names a key that profiles do not have.
    """
    return next((c for c in target.constraints if _breaks(c, profile, target, linear, task)), None)


def _breaks(
    constraint: Constraint, profile: Profile, target: Target, linear: Precision, task: TaskName
) -> bool:
    def has(key: str, values: Values) -> bool:
        value = task if key == TASK else _value(key, profile, linear, target)
        return value in values[key] or str(value) in values[key]

    when, unless = constraint.when, constraint.unless
    return all(has(key, when) for key in when) and not any(has(key, unless) for key in unless)


def _value(key: str, profile: Profile, linear: Precision, target: Target) -> object:
    """The value of a key in dots; None for a runtime property that the profile does not set."""
    value: object = profile
    parts = key.split(".")
    if key.startswith(f"{LINEAR}."):
        value, parts = linear, parts[2:]
    for part in parts:
        if isinstance(value, dict):
            return value.get(part)
        if not isinstance(value, Strict) or part not in type(value).model_fields:
            raise QdeployError(
                f"a constraint of target {target.name} names no key of a profile: {key!r}",
                fix="see docs/adding-a-profile.md for the keys",
            )
        value = getattr(value, part)
    return value
