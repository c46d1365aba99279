"""`qdeploy verify`."""

from __future__ import annotations

from pathlib import Path

import click

from qdeploy.cli import options, output


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@options.as_json
def command(bundle: Path, as_json: bool) -> None:
    """Check the sha256 of every file of BUNDLE against its manifest; exit 4 where they differ."""
    import qdeploy

    opened = qdeploy.open(bundle, full=True)
    files = len(opened.manifest.files)
    if as_json:
        output.write_json(
            {"ok": True, "files": files, "bytes": opened.nbytes, "digest": opened.digest}
        )
    else:
        click.echo(f"{bundle}: {files} files, {output.size(opened.nbytes)}, all as in the manifest")
