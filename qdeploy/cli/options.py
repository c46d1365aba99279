"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from qdeploy.deploy.run import Which


class Finite(click.FloatRange):
    """A range of finite floats: click's own range accepts NaN and infinity."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

target = click.option(
    "--target", metavar="T", help="What to run on; default: the bundle's own target."
)


def _which(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> Which:
    """One device, or several from a list with commas."""
    if len(given) > 1:
        raise click.UsageError("give one --device, or one list of --devices")
    names = tuple(name.strip() for name in given[0].split(","))
    return names[0] if len(names) == 1 else names


device = click.option(
    "--device",
    "--devices",
    "device",
    default=["0"],
    multiple=True,  # to refuse a second one
    callback=_which,
    metavar="I[,J...]",
    help="Which of the target's devices: place or id, by `qdeploy targets`. Several, in order, "
    "share the model.",
)


def load_on(which: Which) -> dict[str, Any]:
    """The argument of `qdeploy.load` for what `device` gave."""
    return {"device": which} if isinstance(which, int | str) else {"devices": which}


def endpoint(command: Callable[..., None]) -> Callable[..., None]:
    """Add --endpoint and --endpoint-model: a server that runs already is the device."""
    for option in (
        click.option(
            "--endpoint-model",
            metavar="NAME",
            help="Which of the server's models; default: its only.",
        ),
        click.option(
            "--endpoint",
            metavar="URL",
            help="Use the OpenAI-compatible server there as the device.",
        ),
    ):
        command = option(command)
    return command


def at_endpoint(
    endpoint: str | None, model: str | None, device: Which, target: str | None = None
) -> Which:
    """The device that --endpoint and --endpoint-model stand for, or *device* without them."""
    if endpoint is None:
        if model is not None:
            raise click.UsageError("--endpoint-model needs an --endpoint")
        return device
    if "://" not in endpoint:
        raise click.UsageError("--endpoint takes an address, e.g. http://127.0.0.1:8000/v1")
    if target is not None or device != "0":
        raise click.UsageError("--endpoint is the target and the device; leave those options out")
    return f"{endpoint}#{model}" if model else endpoint


backend = click.option(
    "--backend", metavar="B", help="Which runtime; default: the first that serves it."
)
simulate = click.option(
    "--simulate", is_flag=True, help="Use the target's simulated device, and say so."
)
context = click.option("--context", type=int, metavar="N", help="Tokens the session must hold.")
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads; default: one for each physical core that the process may use.",
)
allow_fallback = click.option(
    "--allow-fallback", is_flag=True, help="Let heavy operators run elsewhere, with a warning."
)
requantize = click.option(
    "--requantize", is_flag=True,
    help="Round weights again that are quantized already; default: keep their codes.",
)  # fmt: skip
task = click.option(
    "--task",
    type=click.Choice(["generate", "embed", "rerank"]),
    help="What the model is for; default: what its files say.",
)
results_file = click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Add to the results in this file; a new result replaces an older one like it.",
)
