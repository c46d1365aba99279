"""`qdeploy serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qdeploy.cli import nodes, options, output

if TYPE_CHECKING:
    from qdeploy.deploy.run import Which

DEFAULT_PORT = 8000


@click.command("serve")
@click.argument("model")
@options.target
@options.device
@options.backend
@options.simulate
@options.allow_fallback
@options.context
@options.threads
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen on; 0.0.0.0 is every network.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True,
              metavar="N", help="0 is any free port.")  # fmt: skip
@click.option("--name", metavar="NAME", help="The model's name for clients; default: its own.")
@click.option("--concurrency", type=click.IntRange(1, 1024), default=32, show_default=True,
              metavar="N", help="Requests at once, where the backend batches.")  # fmt: skip
@click.option("--queue", type=click.IntRange(min=0), default=64, show_default=True, metavar="N",
              help="Requests that may wait besides; more get status 429.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N",
              help="Most tokens of an answer, thinking included.")  # fmt: skip
@click.option("--max-seconds", type=options.Finite(min=0, min_open=True), default=3600.0,
              show_default=True, metavar="S", help="Most seconds of a request.")  # fmt: skip
@click.option("--max-body", type=click.IntRange(min=1024), default=8 * 2**20, show_default=True,
              metavar="BYTES", help="Most bytes of a request.")  # fmt: skip
@click.option("--api-keys", type=click.Path(path_type=Path), metavar="FILE",
              help="A key a line; default: those in QDEPLOY_API_KEYS, if set.")  # fmt: skip
@click.option("--cors", multiple=True, metavar="ORIGIN",
              help="Origin of web pages that may use the server; * is all of them.")  # fmt: skip
@click.option("--allow-host", multiple=True, metavar="NAME",
              help="A further name of this server in requests' Host. Repeatable.")  # fmt: skip
@click.option("--drain-seconds", type=options.Finite(min=0), default=30.0, show_default=True,
              metavar="S", help="Time for requests that run when it is told to stop.")  # fmt: skip
@click.option("--log-format", type=click.Choice(["plain", "json"]), default="plain",
              show_default=True, help="Of the log on stderr.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print one JSON object when ready: url, model, device.")  # fmt: skip
@nodes.options
def command(
    model: str,
    target: str | None,
    device: Which,
    backend: str | None,
    simulate: bool,
    allow_fallback: bool,
    context: int | None,
    threads: int | None,
    host: str,
    port: int,
    name: str | None,
    concurrency: int,
    queue: int,
    max_tokens: int | None,
    max_seconds: float,
    max_body: int,
    api_keys: Path | None,
    cors: tuple[str, ...],
    allow_host: tuple[str, ...],
    drain_seconds: float,
    log_format: str,
    as_json: bool,
    spread: nodes.Asked | None,
) -> None:
    """Serve MODEL over HTTP, as OpenAI's API: a bundle, or a model that is exported first.

    SIGTERM or Ctrl-C lets running requests end; a second one does not.
    """
    from qdeploy.serving.extra import check_extra

    check_extra()

    import qdeploy
    from qdeploy.cli.progress import ExportProgress
    from qdeploy.deploy.obtain import find_bundle
    from qdeploy.deploy.run import describe
    from qdeploy.serving import info_routes, keys, logs, server
    from qdeploy.serving.service import Service, concurrency_of
    from qdeploy.serving.settings import Limits, Settings

    if spread:
        backend = nodes.BACKEND
    known = keys.read(api_keys)
    listening = server.bind(host, port)
    with listening:
        loopback = server.is_loopback(listening)
        _warn(host, loopback=loopback, keys=bool(known), every_page="*" in cors)
        with ExportProgress(quiet=as_json) as progress:
            bundle, exported = find_bundle(
                model, target, progress, backend=backend, device=device, simulate=simulate
            )
        if exported:
            output.say_exported(bundle.nbytes)
        spreading = None
        if spread:
            which = target or bundle.manifest.target
            spreading = nodes.plan(spread, bundle, which, context=context)
            if spread.only_print:
                nodes.show_commands(
                    spreading, bundle, which, context=context, concurrency=concurrency
                )
                return
        loaded = qdeploy.load(
            bundle,
            target=target,
            **options.load_on(device),
            backend=backend,
            simulate=simulate,
            context=context,
            allow_fallback=allow_fallback,
            threads=threads,
            concurrency=concurrency,
            properties=nodes.properties(spreading),
        )
        with loaded:
            output.warn_of(loaded)
            settings = Settings(
                name=name or bundle.manifest.model.name,
                queue=queue,
                keys=known,
                hosts=tuple(map(str.lower, allow_host)) if loopback else None,
                origins=cors,
                drain_seconds=drain_seconds,
                limits=Limits(body_bytes=max_body, seconds=max_seconds, answer_tokens=max_tokens),
            )
            served = concurrency_of(loaded, concurrency)
            service = Service(loaded, settings, concurrency=served)
            logs.set_up(as_json=log_format == "json")

            def ready() -> None:
                where = server.url(listening)
                if as_json:
                    output.write_json({"url": where} | info_routes.describe(service))
                at_once = f"{served} at once" if served > 1 else "one at a time"
                click.echo(
                    f"serving {settings.name} on {where} ({describe(loaded.choice)}, {at_once})",
                    err=True,
                )

            server.serve(service, listening, ready)


def _warn(host: str, *, loopback: bool, keys: bool, every_page: bool) -> None:
    """Warn of settings that let others in."""
    if not loopback and not keys:
        output.warn(
            f"--host {host} lets everyone who reaches this machine use the model, read its "
            "metrics and fill its queue: there are no API keys (--api-keys FILE)"
        )
    elif not loopback:
        output.warn(f"--host {host} is reached from other machines, and HTTP is not encrypted: "
                    "put a proxy with TLS before it")  # fmt: skip
    if every_page and not keys:
        output.warn("--cors '*' lets every web page that someone here opens use the model")
