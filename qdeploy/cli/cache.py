"""`qdeploy cache`."""

from __future__ import annotations

import click

from qdeploy.cli import options, output


@click.group("cache", invoke_without_command=True)
@options.as_json
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the cache, with sizes: bundles of `run`, references, calibrations, compiled kernels."""
    if ctx.invoked_subcommand:
        return
    from qdeploy.deploy import cache

    found = cache.entries()
    total = sum(e.nbytes for e in found)
    if as_json:
        rows = [{"name": e.path.name, "path": str(e.path), "bytes": e.nbytes} for e in found]
        output.write_json({"root": str(cache.root()), "bytes": total, "entries": rows})
        return
    table = output.table("entry", "size", right=("size",))
    for entry in found:
        table.add_row(entry.path.name, output.size(entry.nbytes))
    console = output.console()
    if found:
        console.print(table)
    console.print(f"{len(found)} entries, {output.size(total)}, in {cache.root()}")


@command.command("clear")
@click.argument("names", nargs=-1)
def clear(names: tuple[str, ...]) -> None:
    """Remove the entries NAMES, or all of them."""
    from qdeploy.deploy import cache
    from qdeploy.errors import InputError, did_you_mean

    known = {e.path.name for e in cache.entries()}
    for name in names:
        if name not in known:
            raise InputError(f"no cache entry {name!r}", fix=did_you_mean(name, known))
    removed = cache.clear(names)
    freed = sum(e.nbytes for e in removed)
    click.echo(f"removed {len(removed)} entries, {output.size(freed)}", err=True)
