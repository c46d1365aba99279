"""The command line. Each command is a module of this package, imported when it is called.

Text and JSON results go to stdout, everything else to stderr. Errors become a message and an exit
code here, and nowhere else.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from qdeploy.errors import QdeployError

COMMANDS = {
    "export": "Turn a Qwen3 checkpoint into a bundle for a target.",
    "run": "Answer a prompt, or chat, from a bundle or a model.",
    "serve": "Serve a bundle or a model over HTTP, as OpenAI's API.",
    "embed": "Make vectors of texts with an embedding model.",
    "rerank": "Score documents against a query with a reranking model.",
    "eval": "Measure how far a bundle is from its float checkpoint, or from another bundle.",
    "plan": "Forecast fit and speed on each device, or show the plan of an export.",
    "targets": "List targets, the backends that serve them and the devices found.",
    "doctor": "Check every target and backend on this machine, with a diagnosis for each.",
    "profiles": "List the profiles, or show one.",
    "bench": "Measure the speed and cost of bundles by a written protocol.",
    "compare": "Compare two files of results and report regressions.",
    "verify": "Check every file of a bundle against its manifest.",
    "report": "Show results of many machines as one page, as Markdown and as JSON.",
    "matrix": "Run models on every target and profile that this machine has.",
    "cache": "List or clear the cache: bundles of `run`, references of `eval`.",
    "engine": "Install, list or remove vLLM, in an environment of its own.",
}
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


class _Lazy(click.Group):
    """Lists every command with one line of help, and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"qdeploy.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"qdeploy {version('qdeploy')}")
        ctx.exit()


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version", is_flag=True, callback=_print_version, expose_value=False, is_eager=True,
    help="Show the version.",
)  # fmt: skip
@click.pass_context
def app(ctx: click.Context, debug: bool) -> None:
    """One Qwen3 checkpoint on many kinds of hardware: export, run, and prove where it ran."""
    ctx.obj = {"debug": debug}


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors are printed here and nowhere else."""
    debug = "--debug" in arguments
    try:
        code = app.main(args=list(arguments), prog_name="qdeploy", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader closed stdout; the interpreter would fail again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except QdeployError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "free space, or send stdout elsewhere"
            click.echo(f"error: the output has no room ({error.strerror})\n  fix: {fix}", err=True)
        elif isinstance(error, MemoryError):
            from qdeploy.system.memory import LESS

            click.echo(f"error: out of memory ({error or 'MemoryError'})\n  fix: {LESS}", err=True)
        else:
            hint = "qdeploy --debug ... shows where"
            click.echo(f"internal error: {type(error).__name__}: {error}\n  {hint}", err=True)
        return 1
    return code if isinstance(code, int) else 0
