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
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from qdeploy.cli import output
from qdeploy.interface import Progress

if TYPE_CHECKING:
    from typing_extensions import Self


SPEED_SECONDS = 3600.0
"""Time over which the speed is found: a step of calibration may take minutes."""


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
            speed_estimate_period=SPEED_SECONDS,
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


class _Amount(ProgressColumn):
    """Bytes of a total, or steps for a task with the field `steps`."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._steps = DownloadColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        return (self._steps if task.fields.get("steps") else self._bytes).render(task)


class ExportProgress(_Bar, Progress):
    """Shows the stage, the steps or the bytes written of the total, and the time left."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(_Amount(), TimeElapsedColumn(), TimeRemainingColumn(), quiet=quiet)
        self._writing = self._stepping = False

    def __enter__(self) -> Self:
        return self  # the first stage starts the bar: an existing bundle needs no export

    def begin(self, total_bytes: int) -> None:
        self._writing = True
        self._begin("starting", total=total_bytes)

    def stage(self, title: str) -> None:
        if self._writing:
            self._show(description=title)
        else:
            self._stepping = False
            self._begin(title, steps=True)

    def step(self, done: int, total: int) -> None:
        if self._stepping:
            self._show(total=total, completed=done)
        else:  # what an earlier run has done says nothing of the speed
            self._bar.reset(self._task, total=total, completed=done, steps=True)
        self._stepping = True

    def written(self, total_bytes: int) -> None:
        self._show(completed=total_bytes)

    def warn(self, message: str) -> None:
        output.warn(message)

    def _begin(self, title: str, total: int | None = None, **fields: bool) -> None:
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(title, total=total, **fields)
        self._bar.start()


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
