"""`python -m qdeploy`, and the console script."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from qdeploy.cli import run_cli

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # some services start processes with closed streams
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe on Windows takes no Chinese
        sys.stdout.reconfigure(errors="replace")
    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
