"""`qdeploy profiles`."""

from __future__ import annotations

import click

from qdeploy.cli import options, output


@click.group("profiles", invoke_without_command=True)
@options.as_json
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the profiles that ship with qdeploy; `show` prints one."""
    if ctx.invoked_subcommand:
        return
    from qdeploy.planning.profile import load_profile, profile_names

    found = [load_profile(name) for name in profile_names()]
    if as_json:
        output.write_json({"profiles": [p.model_dump(mode="json", by_alias=True) for p in found]})
        return
    table = output.table("profile", "target", "format", "linear weights", "why")
    for p in found:
        table.add_row(p.name, p.target, p.format, str(p.weights.linear), p.why)
    output.console().print(table)


@command.command("show")
@click.argument("name")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Print the TOML of profile NAME, as a start for one of your own."""
    from qdeploy import registry
    from qdeploy.planning.profile import load_profile, profile_source

    loaded = load_profile(name)
    registry.format_of(loaded)
    if as_json:
        output.write_json(loaded.model_dump(mode="json", by_alias=True))
    else:
        click.echo(profile_source(name), nl=False)
