"""An exporter: it carries out a plan and writes the files of a bundle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qdeploy.calibration.report import Report
from qdeploy.errors import Refusal
from qdeploy.storage.workdir import SCRATCH as SCRATCH  # part of this contract

if TYPE_CHECKING:
    from qdeploy.planning.plan import Plan


NO_CALIBRATION = "it rounds weights itself, and takes no codes that are calibrated"
"""Why an exporter refuses a plan with calibration."""


class Progress(Report):
    """Receives how far an export is. Byte counts are of the bundle being written.

    Before `begin`, stages and steps are those of calibration. This class ignores everything;
    subclasses show it.
    """

    def begin(self, total_bytes: int) -> None:
        """Begin the work on a bundle of this predicted size."""

    def written(self, total_bytes: int) -> None:
        """Report the bytes written so far."""


class Exporter(ABC):
    """Turns a plan into the files of a bundle, in one or more formats."""

    name: ClassVar[str]
    """The word on the command line."""
    formats: ClassVar[tuple[str, ...]]
    """Bundle formats that it writes."""
    resumes: ClassVar[bool] = False
    """Whether `export` can resume an interrupted run of the same plan.

    The exporter keeps what it needs for that in the subdirectory `SCRATCH`. A run that fails while
    that is there is resumed by the next run.
    """
    calibrates: ClassVar[bool] = False
    """Whether `export` takes the codes of calibrated weights from
    `qdeploy.calibration.codes.open_planned_weights`, and does not round those weights itself."""

    def requires(self, format: str) -> tuple[str, ...]:
        """Return the distributions whose versions decide the bytes of this format.

        The manifest records their versions.
        """
        return ()

    @abstractmethod
    def why_not(self, plan: Plan) -> Refusal | None:
        """Return why this exporter cannot carry out *plan*, or None if it can. Loads nothing."""

    def refuses(self, plan: Plan) -> Refusal | None:
        """Return why *plan* cannot be carried out: `why_not`, and what this contract rules out."""
        if plan.calibration and not self.calibrates:
            return Refusal(NO_CALIBRATION)
        return self.why_not(plan)

    @abstractmethod
    def peak_memory_bytes(self, plan: Plan) -> int:
        """Predict the peak anonymous memory of `export`, in bytes, from the plan alone."""

    def config_changes(self, plan: Plan) -> Mapping[str, Any]:
        """Return keys of `config.json` that differ in the bundle; None removes a key.

        They are for runtimes that read the model's description from there.
        """
        return {}

    @abstractmethod
    def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
        """Write the bundle's files, all but the manifest, into *folder*.

        The folder is empty, or as an interrupted run left it if this exporter `resumes`.

        Raises:
            TargetUnavailable: a library that the exporter needs is not installed.
            ExportFailed: anything else; the caller removes *folder*.
        """
