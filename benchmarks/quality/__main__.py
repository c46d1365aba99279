"""Runs the contenders on one model, and prints how far each is from the float model."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import quality
from benchmarks.quality.contenders import QDEPLOY, RECIPES, Asked, Made, contenders, make
from benchmarks.quality.measure import Judge, Scores, difference, interval
from benchmarks.quality.peer import PeerFailed
from benchmarks.quality.weights import Contender, folder_of, open_model
from qdeploy.evaluate.text import PROSE, TASKS, WINDOWS
from qdeploy.system import info
from qdeploy.system.threads import usable_threads

Result = dict[str, Any]


def main() -> None:
    asked = _arguments()
    model = open_model(folder_of(asked.model))
    ids = asked.calibration_ids.read_text(encoding="ascii")
    sequences = [json.loads(line) for line in ids.splitlines()]
    if len({len(row) for row in sequences}) != 1:
        sys.exit(f"{asked.calibration_ids}: its sequences are not of one length")
    given = Asked(
        model,
        asked.group_size,
        asked.symmetric,
        sequences,
        asked.recipe,
        asked.seed,
        asked.threads,
        asked.work,
        asked.ratio,
    )
    bundles, alike = dict(asked.bundle), dict(asked.alike)
    every = contenders(asked.nncf_python, asked.autoround_python, bundles, alike, given)
    if unknown := set(asked.only) - set(every):
        sys.exit(f"no such contenders here: {', '.join(sorted(unknown))}")
    judge = Judge(model, asked.text or [PROSE, TASKS], asked.windows)
    results: dict[str, Result] = {}
    scores: dict[str, dict[str, Scores]] = {}
    for name in asked.only or every:
        print(f"{name} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            made = make(name, every[name], given)
        except PeerFailed as error:
            results[name] = {"failed": str(error)}
            continue
        with closing(open_model(made.checkpoint).weights) as quantized:
            scores[name] = judge.scores(Contender(quantized, model.weights))
        results[name] = _result(made, scores[name])
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    base = asked.base if asked.base in scores else next(iter(scores), None)
    for name, own in scores.items():
        if base and name != base:
            results[name][f"less {base}"] = {
                text: difference(each, scores[base][text]) for text, each in own.items()
            }
    report = {
        "model": model.checkpoint.name,
        "group_size": asked.group_size,
        "symmetric": asked.symmetric,
        "recipe": asked.recipe,
        "ratio": asked.ratio,
        "weights": model.quantized_weights,
        "bytes": model.bytes_of(asked.group_size, symmetric=asked.symmetric),
        "calibration": {
            "sha256": hashlib.sha256(ids.encode()).hexdigest(),
            "sequences": len(sequences),
            "length": len(sequences[0]),
        },
        "processor": info.cpu_name(),
        "versions": info.versions(("qdeploy", "numpy")),
        "contenders": results,
    }
    asked.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report, base))


def table(report: Result, base: str | None) -> str:
    """A line for each contender; means with their intervals, in nats a token."""
    scheme = f"int4 {'sym' if report['symmetric'] else 'asym'} g{report['group_size']}"
    lines = [f"{report['model']}, {scheme}: mean KL in nats a token [95%]; top-1 agreement"]
    texts: Result = next((r["texts"] for r in report["contenders"].values() if "texts" in r), {})
    heads = "".join(f"{text[-28:]:>28}{'top-1':>7}" for text in texts)
    lines.append(f"{'':20}{'bytes':>12}{heads}{'s':>8}")
    for name, result in report["contenders"].items():
        if "failed" in result:
            lines.append(f"{name:20}  {result['failed']}")
            continue
        cells = f"{name:20}{result['bytes']:12,}"
        for each in result["texts"].values():
            low, high = each["interval"]
            span = f"{each['mean']:.5f} [{low:.5f}, {high:.5f}]"
            cells += f"{span:>28}{each['top1']:7.3f}"
        seconds = result["told"].get("seconds")
        lines.append(cells + (f"{seconds:8.0f}" if seconds else ""))
    for name, result in report["contenders"].items():
        for text, (mean, low, high) in result.get(f"less {base}", {}).items():
            lines.append(f"{name} less {base}, {text}: {mean:+.5f} [{low:+.5f}, {high:+.5f}]")
    return "\n".join(lines)


def _result(made: Made, scores: dict[str, Scores]) -> Result:
    texts = {
        name: {
            "mean": each.mean,
            "interval": interval(each.kl, each.positions),
            "top1": each.agreement,
            "passages": asdict(each),
        }
        for name, each in scores.items()
    }
    return {"bytes": made.nbytes, "told": dict(made.told), "texts": texts}


def _arguments() -> argparse.Namespace:
    first = (quality.__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=first)
    parser.add_argument("model", help="a checkpoint's folder, or an embedded model")
    parser.add_argument("--calibration-ids", type=Path, required=True, metavar="FILE")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what is made")
    parser.add_argument("--json", type=Path, required=True, help="the file for all numbers")
    parser.add_argument("--nncf-python", type=Path, metavar="PYTHON")
    parser.add_argument("--autoround-python", type=Path, metavar="PYTHON")
    parser.add_argument(
        "--bundle", type=_named, action="append", default=[], metavar="NAME=FOLDER",
        help="a bundle in the format safetensors, under a name of its own",
    )  # fmt: skip
    parser.add_argument(
        "--alike", type=_named, action="append", default=[], metavar="NAME=FOLDER",
        help="qdeploy without data, each weight in the precision that a bundle has",
    )  # fmt: skip
    parser.add_argument(
        "--ratio", type=_share, help="NNCF's mixed precision, too: its share of four bits"
    )
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--symmetric", action="store_true", help="without zero points")
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="default", help="AutoRound's")
    parser.add_argument("--seed", type=int, default=42, help="AutoRound's")
    parser.add_argument("--threads", type=int, default=usable_threads(), help="AutoRound's")
    parser.add_argument("--text", action="append", help="prose, tasks, or a held-out text's file")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="passages of prose or a file")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--base", default=QDEPLOY, help="what the others are compared with")
    return parser.parse_args()


def _named(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError("write NAME=FOLDER")
    return name, Path(folder)


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError("write a share between 0 and 1")
    return share


if __name__ == "__main__":
    main()
