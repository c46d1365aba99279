"""What `qdeploy embed` and `qdeploy rerank` have in common: texts in, JSON lines out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.architectures.task import TaskName
    from qdeploy.deploy.loaded_models.model import Model

F = TypeVar("F", bound=Callable[..., Any])
DIGITS = 9
"""Significant decimal digits that give every float32 exactly."""


def common_options(command: F) -> F:
    """Add the options of loading a bundle and of batches."""
    every = (
        options.target,
        options.device,
        options.backend,
        options.simulate,
        options.allow_fallback,
        options.context,
        options.threads,
        click.option("--batch-size", type=click.IntRange(min=1), default=8, metavar="N",
                     show_default=True, help="Texts of a pass."),
        click.option("--truncate", is_flag=True,
                     help="Cut texts that do not fit, instead of refusing them."),
        click.option("--json-lines", is_flag=True,
                     help="A line of stdin is JSON: a text, or an object with a key 'text'."),
    )  # fmt: skip
    for option in reversed(every):
        command = option(command)
    return command


def load(model: str, task: TaskName, where: Mapping[str, Any]) -> Model:
    """Load *model*, a bundle or what is exported into the cache first, for *task*.

    Args:
        model: as the user gave it.
        task: what it must be for, which is checked before the runtime loads anything.
        where: the options of `common_options` that `qdeploy.load` takes.
    """
    import qdeploy
    from qdeploy.cli.progress import ExportProgress
    from qdeploy.deploy.obtain import find_bundle
    from qdeploy.deploy.refusals import check_task

    names = ("backend", "device", "simulate")
    with ExportProgress() as progress:
        bundle, exported = find_bundle(
            model, where["target"], progress, **{name: where[name] for name in names}
        )
    if exported:
        output.say_exported(bundle.nbytes)
    check_task(bundle, task)
    others = {name: value for name, value in where.items() if name != "device"}
    loaded = qdeploy.load(bundle, **options.load_on(where["device"]), **others)
    output.warn_of(loaded)
    return loaded


def texts_from(
    arguments: Sequence[str], batch: int, *, json_lines: bool = False
) -> Iterator[list[str]]:
    """Yield the texts in batches: the arguments, or the lines of stdin as they arrive.

    With *json_lines*, a line is JSON, so that a text may have several lines.

    Raises:
        UsageError: there are none, or stdin is not UTF-8, or a line is not JSON with a text.
    """
    if arguments and json_lines:
        raise click.UsageError("--json-lines is about stdin; leave it out, or the texts")
    if not arguments and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("give texts as arguments, or a text a line on stdin")
    lines = iter(arguments) if arguments else _lines(json_lines)
    found = False
    try:
        while texts := list(islice(lines, batch)):
            for text in texts:
                text.encode()
            found = True
            yield texts
    except UnicodeError:
        raise click.UsageError("the texts are not UTF-8") from None
    if not found:
        raise click.UsageError("stdin has no text")


def _lines(json_lines: bool) -> Iterator[str]:
    """The texts on stdin."""
    for number, line in enumerate(sys.stdin, 1):
        yield _text(line, number) if json_lines else line.rstrip("\r\n")


def _text(line: str, number: int) -> str:
    """The text in a line of JSON."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"line {number} of stdin is not JSON ({error})") from None
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise click.UsageError(
            f"line {number} of stdin is neither a text in JSON nor an object with a text as 'text'"
        )
    return text


def write_line(value: Mapping[str, Any]) -> None:
    """Print one JSON object in one line, at once."""
    unicode = "utf" in (sys.stdout.encoding or "utf").lower()
    click.echo(json.dumps(value, ensure_ascii=not unicode))
    sys.stdout.flush()


def plain(values: Any) -> list[float]:
    """float32 values as the shortest numbers that give them again."""
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
