"""Engines that do not start: what is told, and when another start is tried."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from qdeploy.engines import child as module
from qdeploy.engines import process
from qdeploy.engines.child import Child
from qdeploy.errors import GenerationFailed, InputError
from tests.support.engine_child import ask_child, fail_while, is_alive, kill, launch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs process groups")


def test_what_one_said_that_does_not_start_is_in_the_error(
    begin: Callable[..., Child], tmp_path: Path
) -> None:
    with pytest.raises(GenerationFailed) as caught:
        begin("broken")
    assert caught.value.what == (
        "the stub exited with code 1 while it was starting: ValueError: the model is too large"
    )
    assert caught.value.where == str(tmp_path / "log.txt")


def test_a_cause_that_is_known_is_told_instead(begin: Callable[..., Child]) -> None:
    def explain(lines: tuple[str, ...]) -> InputError | None:
        return InputError("too large", fix="a smaller one") if "too large" in lines[-1] else None

    with pytest.raises(InputError, match="too large"):
        begin("broken", explain=explain)


def test_one_that_is_not_ready_in_time_is_ended(begin: Callable[..., Child]) -> None:
    def never(url: str) -> None:
        raise process.NotReady

    with pytest.raises(GenerationFailed, match=r"was not ready within 0.3 s"):
        begin(check=never, seconds=0.3)


def test_a_port_that_another_program_took_is_replaced(
    begin: Callable[..., Child], tmp_path: Path
) -> None:
    assert is_alive(ask_child(begin("port-taken")))
    assert "already in use" in (tmp_path / "log.txt").read_text()


def test_a_program_that_is_not_there_is_an_error(begin: Callable[..., Child]) -> None:
    with pytest.raises(GenerationFailed, match="No such file"):
        begin(command=lambda port: ("/nowhere/python", str(port)))


@pytest.mark.parametrize(("patience", "starts"), [(60.0, 3), (0.0, 2)])
def test_a_new_start_that_fails_is_tried_again_while_there_is_patience(
    patience: float,
    starts: int,
    begin: Callable[..., Child],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    ports, works = [], launch(tmp_path).command

    def command(port: int) -> Sequence[str]:
        ports.append(port)
        return (sys.executable, "-c", "raise SystemExit(9)") if len(ports) == 2 else works(port)

    child = begin(command=command, patience=patience)
    with pytest.raises(GenerationFailed, match="while it was generating"):
        fail_while(child, kill)
    if patience:
        assert is_alive(ask_child(child))
    else:
        with pytest.raises(GenerationFailed, match="exited with code 9"):
            ask_child(child)
    assert len(ports) == starts
