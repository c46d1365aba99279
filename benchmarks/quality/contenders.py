"""What is compared: how each contender quantizes the model, and where its weights are then."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.numpy import load_file

from benchmarks.quality import peer
from benchmarks.quality.mixed import METRICS, export_alike
from benchmarks.quality.weights import Model, stored_bytes, write_floats
from qdeploy.bundle import MANIFEST
from qdeploy.storage.hashing import data_sha256

PROFILE = """\
schema = 1
target = "cpu"
format = "safetensors"
why = "Compares ways to round the linear layers; all else stays as the checkpoint has it."

[weights.linear]
dtype = "int4"
symmetric = {symmetric}
group_size = {group_size}

[weights.embedding]
dtype = "fp16"

[weights.lm_head]
dtype = "fp16"

[weights.router]
dtype = "fp16"

[graph]
activations = "fp32"    # keeps what is not quantized as exact as the checkpoint

[kv_cache]
dtype = "fp32"
"""
"""`fp16` means that a weight is not quantized: with these activations it is stored as float32."""
DONE = "done.json"
QDEPLOY = "qdeploy"
NNCF: Mapping[str, tuple[str, ...]] = {
    "nncf": (),
    "nncf-awq-se": ("awq", "scale_estimation"),
    "nncf-awq-se-gptq": ("awq", "scale_estimation", "gptq"),
}
"""NNCF's methods by contender."""
AUTOROUND = "autoround"


class Recipe(NamedTuple):
    """Steps of AutoRound for each layer and their rate; None is AutoRound's own, 1 / steps."""

    iterations: int
    rate: float | None


RECIPES = {"default": Recipe(200, None), "best": Recipe(1000, None), "light": Recipe(50, 5e-3)}
"""AutoRound's recipes (its `cli/main.py`, 0.16). Samples and their length are those of FILE."""


@dataclass(frozen=True)
class Asked:
    """What every contender is given.

    Attributes:
        sequences: token ids for calibration, all of the same length.
        ratio: NNCF's share of four bits, the rest has eight; None for no such contenders.
    """

    model: Model
    group_size: int
    symmetric: bool
    sequences: list[list[int]]
    recipe: str
    seed: int
    threads: int
    work: Path
    ratio: float | None = None

    def key(self) -> dict[str, Any]:
        """What decides the result of every contender."""
        return {
            "model": str(self.model.checkpoint.folder.absolute()),
            "group_size": self.group_size,
            "symmetric": self.symmetric,
            "calibration": data_sha256(self.sequences),
        }


@dataclass(frozen=True)
class Made:
    """A contender's result.

    Attributes:
        checkpoint: a folder that `open_model` reads.
        nbytes: of codes, scales and zero points, as they are stored.
        told: what the contender says of the run: seconds, versions, settings.
    """

    checkpoint: Path
    nbytes: int
    told: Mapping[str, Any]


@dataclass(frozen=True)
class Way:
    """How a contender is made.

    Attributes:
        make: makes it, in a folder that is given.
        settings: what decides its result, besides what all are given.
        is_kept: whether a result that is there already is taken.
    """

    make: Callable[[Asked, Path], Made]
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_kept: bool = True


def contenders(
    nncf: Path | None,
    autoround: Path | None,
    bundles: Mapping[str, Path],
    alike: Mapping[str, Path],
    asked: Asked,
) -> dict[str, Way]:
    """How each contender is made, by its name; peers only where there is an interpreter."""
    found = {QDEPLOY: Way(export)}
    for name, folder in bundles.items():
        found[name] = Way(partial(_taken, folder), is_kept=False)
    for name, folder in alike.items():
        found[name] = Way(partial(_alike, folder), {"alike": str(folder.absolute())})
    if nncf:
        found |= {name: Way(partial(_nncf, nncf, methods)) for name, methods in NNCF.items()}
        found |= _mixed(nncf, asked.ratio) if asked.ratio else {}
    if autoround:
        settings = {"recipe": asked.recipe, "seed": asked.seed}
        found[AUTOROUND] = Way(partial(_autoround, autoround), settings)
    return found


def _mixed(python: Path, ratio: float) -> dict[str, Way]:
    """NNCF's choice of bits by each metric, with each of its ways to round."""
    return {
        name.replace("nncf", f"nncf-{short}"): Way(
            partial(_nncf, python, methods, ratio=ratio, metric=metric), {"ratio": ratio}
        )
        for short, metric in METRICS.items()
        for name, methods in NNCF.items()
    }


def make(name: str, way: Way, asked: Asked) -> Made:
    """The contender's result; one of the same settings that is there is not made again."""
    output = asked.work / name
    note, given = output / DONE, {**asked.key(), **way.settings}
    if way.is_kept and note.is_file():
        read = json.loads(note.read_text(encoding="utf-8"))
        if read["given"] == given:
            return Made(Path(read["checkpoint"]), read["nbytes"], read["told"])
    if way.is_kept and output.exists():
        shutil.rmtree(output)
    made = way.make(asked, output)
    if way.is_kept:
        told = {"checkpoint": str(made.checkpoint), "nbytes": made.nbytes, "told": made.told}
        note.write_text(json.dumps({"given": given, **told}), encoding="utf-8")
    return made


def export(asked: Asked, output: Path) -> Made:
    """`qdeploy export` with a profile as the comparison wants it."""
    profile, bundle = _profile(asked, output), output / "bundle"
    folder = str(asked.model.checkpoint.folder)
    command = [
        sys.executable,
        "-m",
        "qdeploy",
        "export",
        folder,
        "--target",
        "cpu",
        "-o",
        str(bundle),
    ]
    subprocess.run([*command, "--profile", str(profile)], check=True)
    return _of_bundle(bundle)


def _alike(folder: Path, asked: Asked, output: Path) -> Made:
    profile, bundle = _profile(asked, output), output / "bundle"
    export_alike(asked.model.checkpoint.folder, folder, profile, bundle)
    return _of_bundle(bundle)


def _profile(asked: Asked, output: Path) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    profile = output / "profile.toml"
    values = {"symmetric": str(asked.symmetric).lower(), "group_size": asked.group_size}
    profile.write_text(PROFILE.format(**values), encoding="utf-8")
    return profile


def _taken(folder: Path, asked: Asked, output: Path) -> Made:
    return _of_bundle(folder)


def _of_bundle(folder: Path) -> Made:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return Made(folder, stored_bytes(folder), {"manifest": manifest})


def _nncf(
    python: Path,
    methods: tuple[str, ...],
    asked: Asked,
    output: Path,
    *,
    ratio: float = 1.0,
    metric: str | None = None,
) -> Made:
    scratch = asked.work / "traced"
    job = _job(asked, output) | {"methods": methods, "scratch": str(scratch.absolute())}
    job |= {"ratio": ratio, "metric": metric}
    told = peer.run(python, "nncf_peer", job)
    checkpoint = output / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    write_floats(checkpoint, asked.model, load_file(output / "dequantized.safetensors"))
    return Made(checkpoint, told.pop("bytes"), told)


def _autoround(python: Path, asked: Asked, output: Path) -> Made:
    recipe = RECIPES[asked.recipe]._asdict()
    job = _job(asked, output) | recipe | {"threads": asked.threads, "seed": asked.seed}
    told = peer.run(python, "autoround_peer", job)
    checkpoint = Path(told.pop("checkpoint"))
    return Made(checkpoint, stored_bytes(checkpoint), told)


def _job(asked: Asked, output: Path) -> dict[str, Any]:
    return {
        "model": str(asked.model.checkpoint.folder.absolute()),
        "output": str(output.absolute()),
        "sequences": asked.sequences,
        "group_size": asked.group_size,
        "symmetric": asked.symmetric,
    }
