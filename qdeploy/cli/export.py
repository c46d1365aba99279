"""`qdeploy export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qdeploy.cli import options, output


@click.command("export")
@click.argument("model")
@click.option("--target", required=True, metavar="T", help="What to deploy to, e.g. intel-cpu.")
@click.option("--profile", metavar="P", help="A profile's name or TOML file; default: int4.")
@click.option(
    "-o", "--output", "destination", type=click.Path(path_type=Path), metavar="DIR",
    help="The bundle's folder; default: MODEL-PROFILE here.",
)  # fmt: skip
@click.option("--exporter", metavar="E", help="Which exporter does it, e.g. optimum.")
@click.option("--backend", metavar="B",
              help="Which runtime the default profile is for, e.g. openvino.")  # fmt: skip
@click.option("--context", type=int, metavar="N", help="Longest context, in tokens.")
@click.option(
    "--adapter", type=click.Path(path_type=Path), metavar="DIR",
    help="A LoRA adapter (PEFT) to merge into the weights.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@options.as_json
def command(
    model: str,
    target: str,
    profile: str | None,
    destination: Path | None,
    exporter: str | None,
    backend: str | None,
    context: int | None,
    adapter: Path | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Turn MODEL into a bundle for a target.

    MODEL is a checkpoint folder, a hub id (Qwen/Qwen3-0.6B) or an embedded model (qwen3-nano).
    """
    from qdeploy.checkpoint import preflight
    from qdeploy.cli.plan import show
    from qdeploy.cli.progress import ExportProgress
    from qdeploy.deploy.export import default_output, export, prepare

    plan, chosen = prepare(
        model,
        target,
        profile_name=profile,
        exporter_name=exporter,
        context=context,
        adapter=adapter,
        backend_name=backend,
    )
    if dry_run:
        show(plan, chosen, as_json=as_json)
        return
    folder = destination or default_output(plan)
    with ExportProgress(quiet=as_json) as progress:
        bundle = export(plan, chosen, folder, progress, force=force)
    summary: dict[str, Any] = plan.summary() | {
        "path": str(folder),
        "exporter": chosen.name,
        "bundle_bytes": bundle.nbytes,
        "predicted_bundle_bytes": plan.bundle_bytes,
        "digest": bundle.digest,
    }
    console = output.console(stderr=True)
    if warning := preflight.chat_warning(plan.checkpoint):
        console.print(f"warning: {warning}", markup=False)
    if as_json:
        output.write_json(summary)
        return
    console.print(
        f"{plan.checkpoint.name} → {folder}: {output.size(bundle.nbytes)}, "
        f"{plan.linear} linear weights, for {plan.target.name}"
    )
    console.print(f"next: qdeploy run {folder}")
