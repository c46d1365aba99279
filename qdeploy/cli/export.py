"""`qdeploy export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qdeploy.cli import calibration, options, output

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qdeploy.architectures.task import TaskName


@click.command("export")
@click.argument("model")
@click.option("--target", required=True, metavar="T", help="What to deploy to, e.g. intel-cpu.")
@click.option("--profile", metavar="P", help="A profile's name or TOML file; default: int4.")
@click.option(
    "-o", "--output", "destination", type=click.Path(path_type=Path), metavar="DIR",
    help="The bundle's directory; default: MODEL-PROFILE here.",
)  # fmt: skip
@click.option("--exporter", metavar="E", help="Which exporter does it, e.g. optimum.")
@click.option("--backend", metavar="B",
              help="Which runtime the default profile is for, e.g. openvino.")  # fmt: skip
@click.option("--context", type=int, metavar="N", help="Longest context, in tokens.")
@click.option(
    "--adapter", type=click.Path(path_type=Path), metavar="DIR",
    help="A LoRA adapter (PEFT) to merge into the weights.",
)  # fmt: skip
@options.requantize
@calibration.options
@options.task
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
    requantize: bool,
    task: TaskName | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
    **calibrating: Unpack[calibration.Calibrating],
) -> None:
    """Turn MODEL into a bundle for a target.

    MODEL is a checkpoint directory, a hub id (Qwen/Qwen3-0.6B) or an embedded model (qwen3-nano).
    """
    calibration.check(calibrating)

    import qdeploy
    from qdeploy.cli.plan import show
    from qdeploy.cli.progress import ExportProgress
    from qdeploy.deploy.refusals import COMMANDS
    from qdeploy.registry import exporter_for

    if dry_run:
        plan = qdeploy.plan(
            model,
            target=target,
            profile=profile,
            exporter=exporter,
            backend=backend,
            context=context,
            adapter=adapter,
            requantize=requantize,
            task=task,
            **calibrating,
        )
        show(plan, exporter_for(plan.format, exporter), as_json=as_json)
        return
    with ExportProgress(quiet=as_json) as progress:
        bundle = qdeploy.export(
            model,
            target=target,
            output=destination,
            profile=profile,
            exporter=exporter,
            backend=backend,
            context=context,
            adapter=adapter,
            requantize=requantize,
            task=task,
            **calibrating,
            force=force,
            progress=progress,
        )
    manifest, record = bundle.manifest, bundle.manifest.calibration
    console = output.console(stderr=True)
    for warning in manifest.plan["warnings"]:
        console.print(f"warning: {warning}", markup=False)
    if as_json:
        output.write_json(
            manifest.plan
            | {
                "path": str(bundle.path),
                "exporter": manifest.exporter,
                "bundle_bytes": bundle.nbytes,
                "predicted_bundle_bytes": manifest.plan["bundle_bytes"],
                "digest": bundle.digest,
                "calibration_record": record.model_dump(mode="json") if record else None,
            }
        )
        return
    console.print(
        f"{manifest.model.name} → {bundle.path}: {output.size(bundle.nbytes)}, "
        f"{manifest.plan['linear']} linear weights, for {manifest.target}"
    )
    console.print(f"next: {COMMANDS[manifest.task.name]} {bundle.path}")
