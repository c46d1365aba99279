"""Starts a server for a bundle, and talks to it."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import platformdirs

from qdeploy.backends.vllm.errors import explained_by
from qdeploy.backends.vllm.settings import Settings
from qdeploy.engines.child import Child
from qdeploy.engines.client import EngineClient
from qdeploy.engines.health import check_health
from qdeploy.engines.process import Launch, NotReady
from qdeploy.engines.vllm import overlay
from qdeploy.engines.vllm.command import KEY, Served, command, environment
from qdeploy.engines.vllm.environment import Environment
from qdeploy.errors import QdeployError
from qdeploy.targets import CPU

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle

SIDECARS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "model.safetensors.index.json",
)  # fmt: skip
WEIGHTS = "model*.safetensors"
"""vLLM reads every file of weights that it finds: others of a bundle are not for it."""
START_SECONDS = 3600.0
"""A large model on a GPU is read, compiled and captured within this."""
NODE_SECONDS = 1800.0
"""A machine that went away is waited for so long: it may have to boot."""
KEPT_LOGS = 20


@dataclass(frozen=True)
class Server:
    """A server that has started.

    Attributes:
        connect: makes a client for a URL, with the server's key.
        resources: stops it and removes its folder when it is closed.
    """

    child: Child
    connect: Callable[[str], EngineClient]
    log: Path
    resources: ExitStack


def start(bundle: Bundle, found: Environment, settings: Settings) -> Server:
    """Start a server for a bundle and wait until it is ready.

    Raises:
        QdeployError: it does not start; by its log, where that tells.
    """
    key, log = secrets.token_urlsafe(32), new_log()
    variables = {KEY: key}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="qdeploy-vllm-")))
        if settings.spread:  # the other nodes have the bundle, and no such folder
            served = replace(settings.served, model=bundle.path.resolve())
            started = settings.spread.command(found, served, folder)
        else:
            link_model(bundle.path, folder)
            served = replace(settings.served, model=folder)
            started = partial(command, found.python, served)
            if served.target == CPU.name:
                place = Path(stack.enter_context(TemporaryDirectory(prefix="qdeploy-vllm-")))
                overlay.write_alone(place)
                variables["PYTHONPATH"] = str(place)

        def connect(url: str) -> EngineClient:
            return EngineClient(url, api_key=key)

        launch = _launch(started, served, log, variables, connect)
        if settings.spread:
            launch = replace(launch, patience=NODE_SECONDS)
        child = Child(launch)
        stack.callback(child.stop)
        child.start()
        return Server(child, connect, log, stack.pop_all())


def link_model(bundle: Path, folder: Path) -> None:
    """Make a folder of links to a bundle's files that are the model's."""
    for name in SIDECARS:
        if (bundle / name).is_file():
            (folder / name).symlink_to((bundle / name).resolve())
    for file in bundle.glob(WEIGHTS):
        (folder / file.name).symlink_to(file.resolve())


def new_log() -> Path:
    """A file for a server's output; of older ones the last few are kept."""
    folder = platformdirs.user_log_path("qdeploy", appauthor=False) / "vllm"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in sorted(folder.glob("*.log"))[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return folder / f"{stamp}-{os.getpid()}-{secrets.token_hex(2)}.log"


def _launch(
    started: Callable[[int], Sequence[str]],
    served: Served,
    log: Path,
    variables: Mapping[str, str],
    connect: Callable[[str], EngineClient],
) -> Launch:
    def check(url: str) -> None:
        """Ask for the model, too: another program may answer at a port that it took first."""
        check_health(url)
        with connect(url) as client:
            try:
                names = [model.id for model in client.models()]
            except QdeployError as error:
                raise NotReady(str(error)) from error
        if served.name not in names:
            raise NotReady(f"it serves {', '.join(names)}")

    return Launch(
        "vLLM",
        started,
        check,
        log,
        {**environment(served), **variables},
        seconds=START_SECONDS,
        explain=explained_by(log),
    )
