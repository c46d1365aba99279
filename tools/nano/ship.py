"""Puts a finished run into the package: weights and configs, golden logits, model card.

python -m tools.nano.ship qwen3-nano --run RUN
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.nano import MODELS, card, golden, weights
from tools.nano.configs import CONFIGS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("--run", type=Path, required=True, help="the folder train wrote")
    arguments = parser.parse_args()
    folder = MODELS / arguments.name
    weights.save(weights.load(arguments.run), arguments.name, folder)
    golden.write(arguments.name)
    if (arguments.run / "scores.json").exists():  # evaluation may follow later
        text = card.card(arguments.name, arguments.run)
        (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
