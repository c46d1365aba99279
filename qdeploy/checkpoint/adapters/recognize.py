"""What a folder or a file is that is no adapter, and what helps."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from qdeploy.checkpoint.adapters import recipes
from qdeploy.checkpoint.adapters.config import CONFIG
from qdeploy.checkpoint.recognition.recognize import shell
from qdeploy.errors import CheckpointError

WEIGHTS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
SHOWN = 3
"""Names that a fix lists."""


class Kind(NamedTuple):
    """A row of the table.

    Attributes:
        pattern: matches the POSIX path of a file in the folder.
        what: what the folder is.
        fix: makes the fix from the folder and the files that matched.
    """

    pattern: str
    what: str
    fix: Callable[[Path, Sequence[str]], str]


def _latest(folder: Path, names: Sequence[str]) -> str:
    steps = {int(found[1]) for n in names if (found := re.match(r"checkpoint-(\d+)/", n))}
    return f"give its last checkpoint: --adapter {shell(folder / f'checkpoint-{max(steps)}')}"


def _below(folder: Path, names: Sequence[str]) -> str:
    folders = sorted({name.rpartition("/")[0] for name in names})
    shown = ", ".join(f"--adapter {shell(folder / name)}" for name in folders[:SHOWN])
    return f"give one of them: {shown}{', ...' if len(folders) > SHOWN else ''}"


KINDS = (
    Kind(r"qdeploy\.json", "a bundle, not an adapter",
         lambda folder, _: f"qdeploy run {shell(folder)}"),
    Kind(r"adapter_model\.bin", f"only pickled weights ({PICKLED}), which can run code when loaded",
         lambda folder, _: recipes.unpickle(folder / PICKLED, folder / WEIGHTS)),
    Kind(r"checkpoint-\d+/adapter_model\.safetensors",
         "the folder of a training run, whose adapters are in folders below", _latest),
    Kind(r"([^/]+/){1,2}adapter_config\.json", "the adapters are in folders below", _below),
    Kind(r"adapters\.(safetensors|npz)", "an adapter of MLX, not of PEFT",
         lambda folder, _: "merge it where it was trained: python -m mlx_lm fuse --dequantize "
         f"--model MODEL --adapter-path {shell(folder)} --save-path OUT; then give OUT as model"),
    Kind(r".*\.gguf", "an adapter for llama.cpp (GGUF)",
         lambda *_: "give the PEFT adapter that it was made from"),
    Kind(r"(model\.safetensors|model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json)",
         "a whole model, not an adapter",
         lambda folder, _: f"give it as the model: qdeploy export {shell(folder)}"),
    Kind(r"adapter_model-\d+-of-\d+\.safetensors|adapter_model\.safetensors\.index\.json",
         "an adapter in several files, which PEFT does not load either",
         lambda *_: "save it with PEFT's save_pretrained, which writes one file"),
)  # fmt: skip
"""Rows from the most telling to the least; the first that matches a file of the folder counts."""


def check_folder(folder: Path) -> None:
    """Check that *folder* has the files of an adapter.

    Raises:
        CheckpointError: it has not; the error says what it is.
    """
    if not folder.exists():
        raise CheckpointError("no such directory", where=folder, fix=_download(folder))
    if not folder.is_dir():
        above = folder.parent
        if folder.name in (CONFIG, WEIGHTS):
            fix = f"give its folder: --adapter {shell(above)}"
        else:
            fix = f"give the folder of an adapter, with {CONFIG} and {WEIGHTS}"
        raise CheckpointError("a file, not an adapter's folder", where=folder, fix=fix)
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if not missing:
        return
    names = _names(folder)
    for kind in KINDS:
        if matched := [name for name in names if re.fullmatch(kind.pattern, name)]:
            raise CheckpointError(kind.what, where=folder, fix=kind.fix(folder, matched))
    raise CheckpointError(
        f"not an adapter: {missing[0]} is missing",
        where=folder,
        fix=f"give a folder that PEFT's save_pretrained wrote, with {CONFIG} and {WEIGHTS}",
    )


def _download(folder: Path) -> str:
    """The fix for a folder that is not there, which may be an id of the hub."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", folder.as_posix()):
        there = f"hf download {folder.as_posix()} --local-dir {shell(folder.name)}"
        return f"to take it from the hub: {there}; then give --adapter {shell(folder.name)}"
    return "give the folder that PEFT's save_pretrained wrote"


def _names(folder: Path) -> list[str]:
    """POSIX paths of the files in *folder* and up to two folders below it."""
    names = []
    for root, folders, files in os.walk(folder):
        place = Path(root).relative_to(folder)
        names += [(place / file).as_posix() for file in files]
        if len(place.parts) >= 2:
            folders.clear()
    return sorted(names)
