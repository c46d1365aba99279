"""`qdeploy report`."""

from __future__ import annotations

from pathlib import Path

import click

from qdeploy.cli import options, output


@click.command("report")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "destination", required=True, type=click.Path(path_type=Path),
    metavar="DIR", help="The report's folder.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing report's three files.")
@options.as_json
def command(results: tuple[Path, ...], destination: Path, force: bool, as_json: bool) -> None:
    """Show RESULTS, files or folders of bench, eval, doctor and matrix, from any machines.

    DIR gets index.html, one page that needs no network; report.md, the same for a pull request; and
    report.json, all results merged, which another report can read.
    """
    from qdeploy.report import HTML, JSON, MARKDOWN, write_report
    from qdeploy.report.data.machines import distinct_machines
    from qdeploy.report.data.merged import read_result_files

    written = write_report(read_result_files(results), destination, force=force)
    paths = {
        "html": str(destination / HTML),
        "markdown": str(destination / MARKDOWN),
        "json": str(destination / JSON),
    }
    count = sum(len(file.results) for file in written.files)
    machines = len(distinct_machines(written.files))
    if as_json:
        output.write_json(paths | {"results": count, "machines": machines})
        return
    where = f"{machines} machine{'' if machines == 1 else 's'}"
    click.echo(f"{count} results of {where}", err=True)
    click.echo(paths["html"])
