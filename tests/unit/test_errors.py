"""The tree of errors: its drawing is true, and its exit codes are the documented ones."""

from __future__ import annotations

import pytest

from qdeploy import errors
from qdeploy.errors import CheckpointError, QdeployError, TargetUnavailable, did_you_mean


def drawn() -> dict[str, tuple[str | None, int]]:
    """The tree as the module's docstring draws it: name, then parent and exit code."""
    found: dict[str, tuple[str | None, int]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        label = line.lstrip(" │├└─")
        words = label.split()
        if len(words) < 3 or not words[1].isdigit():
            continue
        depth = (len(line) - len(label)) // 4 - 1
        path[depth:] = [words[0]]
        found[words[0]] = (path[-2] if depth else None, int(words[1]))
    return found


def defined() -> dict[str, tuple[str | None, int]]:
    """The tree as the classes make it."""
    found: dict[str, tuple[str | None, int]] = {"QdeployError": (None, QdeployError.exit_code)}
    todo: list[type[QdeployError]] = [QdeployError]
    while todo:
        parent = todo.pop()
        for subclass in parent.__subclasses__():
            if subclass.__module__ == errors.__name__:
                found[subclass.__name__] = (parent.__name__, subclass.exit_code)
                todo.append(subclass)
    return found


def test_the_drawing_shows_every_error_with_its_parent_and_exit_code() -> None:
    assert drawn() == defined()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (
            1,
            "QdeployError ExportFailed GenerationFailed OutOfMemory PlacementError HubError",
        ),
        (
            2,
            """InputError CheckpointError ProfileError PlanError BundleError OutputError
            PromptError PromptTooLong""",
        ),
        (3, "TargetUnavailable"),
        (4, "CheckFailed"),
    ],
)
def test_exit_codes_are_the_documented_ones(code: int, names: str) -> None:
    """Scripts rely on these; a new error gets one of the four on purpose."""
    found = {name for name, (_, exit_code) in defined().items() if exit_code == code}
    assert found == set(names.split())


def test_a_message_says_where_what_and_how_to_fix_it() -> None:
    error = CheckpointError("cut short", where="a/b", fix="download it again")
    assert str(error) == "a/b: cut short\n  fix: download it again"


def test_a_message_without_place_or_fix_is_the_bare_sentence() -> None:
    assert str(QdeployError("it broke")) == "it broke"


def test_an_absent_target_always_brings_its_reason_and_fix() -> None:
    error = TargetUnavailable("no driver", "install it", where="intel-npu")
    assert (error.reason, error.fix, error.where) == ("no driver", "install it", "intel-npu")


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("intel-cup", ["intel-cpu", "cuda"], "did you mean 'intel-cpu'?"),
        ("Intel-CPU", ["intel-cpu", "cuda"], "did you mean 'intel-cpu'?"),
        ("int4", ["cpu-int4", "cpu-int4-openvino", "cpu-int8"],
         "choose one of: cpu-int4, cpu-int4-openvino"),
        ("int8", ["cpu-int4", "cpu-int8"], "did you mean 'cpu-int8'?"),
        ("zzz", ["b", "a"], "choose one of: a, b"),
        ("zzz", [], "there is none"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_answered_with_the_nearest_or_all(
    name: str, known: list[str], expected: str
) -> None:
    assert did_you_mean(name, known) == expected
