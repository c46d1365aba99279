"""Write the published JSON schemas: `python -m tools.schemas`."""

from __future__ import annotations

from pathlib import Path

from qdeploy.report.data.merged import report_schema
from qdeploy.results import results_schema

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Rewrite the schemas of a file of results and of a merged one."""
    for name, schema in (("results", results_schema), ("report", report_schema)):
        (DOCS / f"{name}.schema.json").write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
