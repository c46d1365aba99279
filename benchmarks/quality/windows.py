"""Makes token ids for calibration from text files: windows of one length, spread over the text.

    python -m benchmarks.quality.windows MODEL FILE TEXT... [--windows 64] [--length 256]

The texts are joined. They must not be those that divergence is measured on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.quality.weights import folder_of
from qdeploy.evaluate.text import spread_evenly
from qdeploy.tokenization.tokenizer import Tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("file", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--length", type=int, default=256, help="tokens of a window")
    asked = parser.parse_args()
    text = "\n\n".join(each.read_text(encoding="utf-8") for each in asked.texts)
    ids = Tokenizer(folder_of(asked.model)).encode(text)
    whole = range(0, len(ids) - asked.length + 1, asked.length)
    if len(whole) < asked.windows:
        parser.error(f"the texts have {len(whole)} windows of {asked.length} tokens")
    starts = spread_evenly(list(whole), asked.windows)
    lines = (json.dumps(ids[start : start + asked.length]) + "\n" for start in starts)
    asked.file.write_text("".join(lines), encoding="ascii")


if __name__ == "__main__":
    main()
