"""Options that several commands have, in the same words."""

from __future__ import annotations

from pathlib import Path

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

target = click.option(
    "--target", metavar="T", help="What to run on; default: the bundle's own target."
)
device = click.option(
    "--device",
    default="0",
    metavar="I",
    help="Which of the target's devices: place or id, by `qdeploy targets`.",
)
backend = click.option(
    "--backend", metavar="B", help="Which runtime; default: the first that serves it."
)
simulate = click.option("--simulate", is_flag=True, help="Use the target's stand-in, and say so.")
context = click.option("--context", type=int, metavar="N", help="Tokens the session must hold.")
results_file = click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Add to the results in this file; what is measured again takes the older one's place.",
)
