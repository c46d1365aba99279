"""Every error qdeploy raises on purpose, and the exit code the command line gives it.

    QdeployError                 1  something failed at run time
    ├── ExportFailed             1  the exporter could not finish
    ├── GenerationFailed         1  a runtime broke while loading or generating
    │   └── OutOfMemory          1  it had too little memory
    ├── PlacementError           1  work ran, or would run, on another device than asked
    ├── HubError                 1  the model hub could not be reached
    ├── InputError               2  bad input or usage
    │   ├── CheckpointError      2  not a checkpoint qdeploy can read
    │   ├── ProfileError         2  a profile that is missing, malformed or contradicts itself
    │   ├── PlanError            2  checkpoint, profile and target do not go together
    │   ├── BundleError          2  not a bundle, or one this version cannot read
    │   ├── OutputError          2  the output folder cannot be written
    │   └── PromptError          2  a prompt the model or the bundle cannot take
    │       └── PromptTooLong    2  one that is longer than the session holds
    ├── TargetUnavailable        3  runtime, driver or hardware is absent here
    └── CheckFailed              4  a check failed: checksum, quality gate, regression

An error is one message: *what* is wrong, *where*, and how to *fix* it. The library raises;
only the command line prints and exits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, NamedTuple


class QdeployError(Exception):
    """Base of the tree above.

    Args:
        what: one sentence, no trailing period, naming the offender and the rule it broke.
        where: file, key, tensor or device the message is about, if there is one.
        fix: what the user can do about it, in the imperative.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: object = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.fix = fix

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  fix: {self.fix}" if self.fix else text


class ExportFailed(QdeployError):
    """The exporter could not finish; nothing was left at the output path."""


class GenerationFailed(QdeployError):
    """A runtime broke while loading a bundle or generating from it."""


class OutOfMemory(GenerationFailed):
    """The machine or the device has too little memory to load a bundle or generate from it."""


class PlacementError(QdeployError):
    """Work ran, or would run, on another device than the one asked for."""


class HubError(QdeployError):
    """The model hub could not be reached, or it returned an incomplete checkpoint."""


class InputError(QdeployError):
    """Bad input or usage."""

    exit_code = 2


class CheckpointError(InputError):
    """Not a checkpoint that qdeploy can read."""


class ProfileError(InputError):
    """A profile that is missing, malformed or contradicts itself."""


class PlanError(InputError):
    """A checkpoint, a profile and a target that do not go together."""


class BundleError(InputError):
    """Not a bundle, or one that this version cannot read."""


class OutputError(InputError):
    """The output folder exists already or cannot be written."""


class PromptError(InputError):
    """A prompt that the model or the bundle cannot take."""


class PromptTooLong(PromptError):
    """A prompt that is longer than the session holds."""


class TargetUnavailable(QdeployError):
    """The target's runtime, driver or hardware is absent on this machine.

    Absent is not broken: tests skip on this error and fail on any other.
    """

    exit_code = 3

    def __init__(self, reason: str, fix: str, *, where: object = None) -> None:
        super().__init__(reason, where=where, fix=fix)

    @property
    def reason(self) -> str:
        return self.what


class CheckFailed(QdeployError):
    """A check failed: a checksum, a quality gate, a regression."""

    exit_code = 4


class Refusal(NamedTuple):
    """Why a plan cannot be carried out, and how to fix it, worded as in an error.

    Without a fix, those who ask look for another exporter, profile or target that takes the model.
    """

    reason: str
    fix: str | None = None


SHORTEST_PART = 3
"""Letters of a name that is looked for within others."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a fix line for an unknown *name*, in any case of letters.

    It names the one of *known* that is equal, else those that hold it, else the nearest, else all.
    """
    names = sorted(known)
    if not names:
        return "there is none"
    folded = {known.casefold(): known for known in reversed(names)}
    word = name.casefold()
    holding = [n for n in names if len(word) >= SHORTEST_PART and word in n.casefold()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    meant = [folded[word]] if word in folded else holding or near
    if len(meant) == 1:
        return f"did you mean {meant[0]!r}?"
    return "choose one of: " + ", ".join(meant or names)
