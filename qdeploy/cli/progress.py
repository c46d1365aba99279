"""Progress of long work: a live bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from qdeploy.interface import Progress

if TYPE_CHECKING:
    from typing_extensions import Self


class _Bar:
    """A context manager that shows a title, a bar and *columns*.

    With *quiet*, or where stderr is not a terminal, it shows nothing. Unless it is *lively*, it is
    drawn only at a change.
    """

    def __init__(self, *columns: ProgressColumn, quiet: bool, lively: bool = True) -> None:
        console = Console(stderr=True)
        self._lively = lively
        self._bar = RichProgress(
            *([SpinnerColumn()] if lively else []),
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            console=console,
            transient=True,
            auto_refresh=lively,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def _show(self, **changes: Any) -> None:
        self._bar.update(self._task, refresh=not self._lively, **changes)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class ExportProgress(_Bar, Progress):
    """Shows the stage, bytes written of the predicted total, and the time left."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(DownloadColumn(), TimeElapsedColumn(), TimeRemainingColumn(), quiet=quiet)

    def __enter__(self) -> Self:
        return self  # `begin` starts the bar: an existing bundle needs no export

    def begin(self, total_bytes: int) -> None:
        self._show(total=total_bytes)
        self._bar.start()

    def stage(self, title: str) -> None:
        self._show(description=title)

    def written(self, total_bytes: int) -> None:
        self._show(completed=total_bytes)


class BenchProgress(_Bar):
    """Shows how many of the runs are done.

    It is redrawn at a change only: a moving bar would take CPU time from the worker that measures.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(MofNCompleteColumn(), TimeElapsedColumn(), quiet=quiet, lively=False)

    def advance(self, title: str, done: int, total: int) -> None:
        self._show(description=title, completed=done, total=total)


class CountProgress(_Bar):
    """Shows a stage, and how many of its steps are done."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(MofNCompleteColumn(), TimeElapsedColumn(), quiet=quiet)

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._show(description=stage, completed=done, total=total)
