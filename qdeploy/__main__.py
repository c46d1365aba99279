"""`python -m qdeploy`, and the console script."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from qdeploy.cli import run_cli

    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe on Windows takes no Chinese
        sys.stdout.reconfigure(errors="replace")
    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
