"""`Report`: how far a calibration is."""

from __future__ import annotations


class Report:
    """Receives how far a calibration is. This class ignores it; subclasses show it."""

    def stage(self, title: str) -> None:
        """Begin a stage, with a title for the user."""

    def step(self, done: int, total: int) -> None:
        """Report how many of a stage's steps are done. Steps take about equally long."""

    def warn(self, message: str) -> None:
        """Tell of something that the user may want to change, in one sentence."""
