"""An engine as a child of this process: on loopback, watched, started again when it dies.

A thread starts the engine, waits until it is ready, watches it, and starts it again:

    starting -> ready -> (it died, or said that it cannot go on) -> starting -> ...

Requests take the engine's address from `serving`, which waits until the engine is ready. Those that
run when it dies end with an error that says so; later ones wait for the new one. An engine that
dies again and again, or cannot be started anew within `Launch.patience`, has failed for good.

The engine ends with this process, however that ends: see `supervisor`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from qdeploy.engines.faults import Unreached
from qdeploy.engines.process import EngineProcess, Launch
from qdeploy.errors import GenerationFailed, QdeployError

NOTICE_SECONDS = 15.0
"""So long a request that failed waits to learn whether the engine died. Engines of several
processes answer with errors for some seconds before the last of them ends."""
PORT_ATTEMPTS = 3
PAUSE_SECONDS = 5.0
"""Time between two attempts to start an engine anew."""
MOST_DEATHS, DEATHS_SECONDS = 3, 600.0
"""An engine that dies so often within this time is not started again."""


class DiedBefore(GenerationFailed):
    """An engine died before it saw a request, which the next one can serve."""


class Child:
    """An engine that runs until `stop`. Safe for threads."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._changed = threading.Condition()
        self._process: EngineProcess | None = None
        self._ready = False
        self._failure: QdeployError | None = None
        self._stopping = threading.Event()
        self._deaths: deque[float] = deque(maxlen=MOST_DEATHS)
        self._thread = threading.Thread(target=self._work, name=launch.name, daemon=True)

    def start(self) -> None:
        """Start the engine and wait until it is ready.

        Raises:
            GenerationFailed: it ended, or was not ready in time. The message has its last line.
            QdeployError: what `Launch.explain` makes of its last lines.
        """
        self._thread.start()
        try:
            self._await_ready()
        except BaseException:  # Ctrl-C, too
            self.stop()
            raise

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The URL of the engine while one request runs. Waits until it is ready.

        Raises:
            DiedBefore: the request failed with `Unreached`, and it was because the engine died.
            GenerationFailed: it was stopped or has failed for good; or the request failed with such
                an error, and it was because the engine died.
        """
        process = self._await_ready()
        try:
            yield process.url
        except GenerationFailed as error:
            if process.ends_within(NOTICE_SECONDS) and not self._stopping.is_set():
                before = isinstance(error, Unreached)
                when = "before it was asked" if before else "while it was generating"
                raise (DiedBefore if before else GenerationFailed)(
                    f"{self._launch.name} {process.how} {when}",
                    where=self._launch.log,
                    fix="ask again: it is being started anew; the log says why it ended",
                ) from error
            raise

    @property
    def launch(self) -> Launch:
        """How it is started."""
        return self._launch

    @property
    def is_ready(self) -> bool:
        """Whether it would serve a request at once."""
        return self._ready and self.pid is not None

    @property
    def pid(self) -> int | None:
        """Process id of the engine's supervisor, or None while none runs."""
        process = self._process
        return None if process is None or process.has_ended() else process.pid

    def stop(self) -> None:
        """End the engine with all of its processes, and wait for that. Twice is harmless."""
        self._stopping.set()
        with self._changed:
            process = self._process
            self._changed.notify_all()
        if process is not None:
            process.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _await_ready(self) -> EngineProcess:
        with self._changed:
            # One that has just died is called ready until the thread that watches it sees that.
            self._changed.wait_for(
                lambda: self.is_ready or self._failure or self._stopping.is_set()
            )
            if self._stopping.is_set():
                raise GenerationFailed(f"{self._launch.name} was stopped", where=self._launch.log)
            if self._failure is not None:
                raise self._failure
            assert self._process is not None  # noqa: S101
            return self._process

    def _work(self) -> None:
        patience = 0.0
        try:
            while not self._stopping.is_set():
                process = self._started_within(patience)
                patience = self._launch.patience
                self._set(ready=True)
                process.watch()
                self._set(ready=False)
                self._count_death(process)
        except QdeployError as error:
            self._set(ready=False, failure=error)
        except Exception as error:  # a mistake of ours; without this, requests wait for ever
            wrong = GenerationFailed(f"{self._launch.name} cannot be watched ({error!r})")
            self._set(ready=False, failure=wrong)
        finally:
            if self._process is not None:
                self._process.kill()

    def _set(self, *, ready: bool, failure: QdeployError | None = None) -> None:
        with self._changed:
            self._ready, self._failure = ready, failure
            self._changed.notify_all()

    def _started_within(self, seconds: float) -> EngineProcess:
        """The same as `_started`, tried again for so long."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self._started()
            except QdeployError:
                if time.monotonic() >= deadline or self._stopping.wait(PAUSE_SECONDS):
                    raise

    def _started(self) -> EngineProcess:
        """A new engine, ready. Raises like `start`."""
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            process = EngineProcess(self._launch)
            with self._changed:
                self._process = process
            if self._stopping.is_set():  # it was not there yet for `stop`
                process.kill()
            try:
                process.await_ready(self._stopping)
            except QdeployError:
                process.kill()
                if not (attempts_left and process.lost_port):
                    raise
            else:
                return process
        raise AssertionError

    def _count_death(self, process: EngineProcess) -> None:
        """Raise GenerationFailed if the engine has died too often."""
        if self._stopping.is_set():
            return
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) == MOST_DEATHS and now - self._deaths[0] < DEATHS_SECONDS:
            minutes = f"{DEATHS_SECONDS / 60:.0f} minutes"
            said = (
                f"{self._launch.name} {process.how}, {MOST_DEATHS} times within {minutes}, and is "
                "not started again"
            )
            raise GenerationFailed(
                ": ".join((said, *process.last_lines()[-1:])),
                where=self._launch.log,
                fix="the log says why; then load the bundle again",
            )
