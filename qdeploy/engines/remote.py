"""Programs on other machines, by the system's `ssh`.

A program there runs under `supervisor`, whose text goes along: it ends, with all that it started,
when the connection does. Users, keys and jump hosts are those of `~/.ssh/config`; unknown hosts are
refused, since nobody can be asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from qdeploy.engines import supervisor

OPTIONS = {
    "BatchMode": "yes",  # no questions: for a password, or whether to trust a host
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ForwardAgent": "no",
    "ForwardX11": "no",
}


def over_ssh(
    host: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    python: str,
    grace: float,
) -> list[str]:
    """The command that runs *command* on *host*.

    Args:
        host: a name that was checked: ssh takes one with a dash in front as an option.
        command: the program and its arguments, there.
        environment: variables of it.
        python: an interpreter there, which runs the supervisor.
        grace: seconds that it has to end by itself.
    """
    text = Path(supervisor.__file__).read_text(encoding="utf-8")
    variables = [f"{name}={value}" for name, value in environment.items()]
    there = ["env", *variables, python, "-I", "-S", "-c", text, str(grace), *command]
    options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-T", *options, "--", host, shlex.join(["exec", *there])]
