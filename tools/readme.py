"""Rewrite the README's table from the results in docs/results: `python -m tools.readme`."""

from __future__ import annotations

from pathlib import Path

from qdeploy.report.data.merged import read_result_files
from qdeploy.report.readme import update_readme

ROOT = Path(__file__).parents[1]
README, RESULTS = ROOT / "README.md", ROOT / "docs" / "results"


def main() -> None:
    """Rewrite the block between the marks."""
    text = README.read_text(encoding="utf-8")
    README.write_text(update_readme(text, read_result_files([RESULTS])), encoding="utf-8")


if __name__ == "__main__":
    main()
