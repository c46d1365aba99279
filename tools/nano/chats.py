"""Chats of held-out questions with worked answers: what `qdeploy eval` scores embedded models on.

python -m tools.nano.chats            # writes qdeploy/evaluate/texts/tasks.jsonl
"""

from __future__ import annotations

import json
from pathlib import Path

from tools.nano.heldout import samples

FILE = Path(__file__).parents[2] / "qdeploy" / "evaluate" / "texts" / "tasks.jsonl"
EVERY = 12


def lines() -> list[str]:
    """Every twelfth question and its reply, thinking included, as one JSON object each."""
    rows = [
        {"question": s.question, "reply": f"<think>\n{s.thinking}\n</think>\n\n{s.answer}"}
        for s in samples()[::EVERY]
    ]
    return [json.dumps(row, ensure_ascii=False) for row in rows]


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
