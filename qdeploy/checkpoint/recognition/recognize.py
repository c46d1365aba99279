"""What a folder or a file is that is not a checkpoint, by the names of its files, and what helps.

One table says it for folders on disk, for models of the hub and for single files, so that each of
them is refused with its own cause and fix.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qdeploy.checkpoint.hub_cache import HUB_ID, hub_id_of, main_snapshot, snapshot_id
from qdeploy.checkpoint.published.names import published_id
from qdeploy.checkpoint.sentence_transformers import moved_up
from qdeploy.errors import CheckpointError

BUNDLE = "qdeploy.json"
"""The manifest of a bundle, which lies beside a config.json of its own."""
MOST_NAMES = 10_000
"""Files that are looked at; more are not needed to tell what a folder is."""
SHOWN = 3
"""Names that a fix lists."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".7z", ".rar")
RESAVE = (
    'python -c "import sys, transformers as t; a, b = sys.argv[1:]; '
    "t.AutoModelForCausalLM.from_pretrained(a).save_pretrained(b); "
    't.AutoTokenizer.from_pretrained(a).save_pretrained(b)"'
)
"""Reads a checkpoint with transformers, argument 1, and writes it as safetensors, argument 2."""
QUANTIZED_NAME = re.compile(
    r"[-._](?:gguf|ud|imatrix|i1|i?q\d\w*|bf16|fp?16|fp?32)$", re.IGNORECASE
)
"""Last part of the name of a GGUF file or repository, after the name of the model."""


class Found(NamedTuple):
    """A folder, and the names in it that show what it is.

    Attributes:
        folder: the folder on disk.
        names: POSIX paths of files in it, or those that a row of the table matched.
        hub_id: the model of the hub whose files they are; they may not have been downloaded.
    """

    folder: Path
    names: Sequence[str]
    hub_id: str | None = None

    @property
    def place(self) -> str:
        """What the user gave."""
        return self.hub_id or str(self.folder)

    @property
    def on_disk(self) -> Path:
        """The folder, or where the fix downloads the model to."""
        return Path(self.hub_id.rpartition("/")[2]) if self.hub_id else self.folder

    def fix(self, rest: str) -> str:
        """A fix that needs the files on disk."""
        if self.hub_id is None:
            return rest
        return f"hf download {self.hub_id} --local-dir {self.on_disk}, and {rest}"

    def below(self) -> list[str]:
        """Names of the folders that hold the files, those near the top first."""
        folders = {name.rpartition("/")[0] for name in self.names}
        return sorted(folders, key=lambda name: (name.count("/"), name))


class Kind(NamedTuple):
    """A row of the table: what is seen, what that is, and what to do about it.

    Attributes:
        pattern: matches the POSIX path of a file in the folder.
        what: what the folder is, as a phrase that follows its name.
        fix: makes the fix from the folder and the files that matched.
    """

    pattern: str
    what: str
    fix: Callable[[Found], str]


def shell(path: os.PathLike[str] | str) -> str:
    """*path* as an argument of a command line."""
    return shlex.quote(os.fspath(path)) if os.name == "posix" else f'"{path}"'


def _read(file: Path, key: str) -> Any:
    """A value of a JSON file; None where there is none, or no such file."""
    try:
        return json.loads(file.read_bytes())[key]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _run_it(found: Found) -> str:
    task = _read(found.folder / found.names[0], "task")
    command = task.get("name") if isinstance(task, dict) else None
    command = command if command in ("embed", "rerank") else "run"
    run = found.fix(f"qdeploy {command} {shell(found.on_disk)}")
    return f"{run}; to export again, give the checkpoint that it was made from"


def _with_its_base(found: Found) -> str:
    base = _read(found.folder / found.names[0], "base_model_name_or_path")
    model = "the model that it was trained on"
    if isinstance(base, str) and base and base.isprintable():
        at_hand = os.path.isdir(base) or HUB_ID.fullmatch(base)
        model = shell(base) if at_hand else f"{model} (then at {shell(base)})"
    return found.fix(f"give {model} as the model, with --adapter {shell(found.on_disk)}")


def _main_snapshot(found: Found) -> str:
    snapshot = main_snapshot(found.folder)
    hub_id = hub_id_of(found.folder.resolve().name)
    ways = [shell(snapshot) if snapshot else None, hub_id and f"its id, {hub_id}"]
    return "give " + (", or ".join(way for way in ways if way) or "a folder of snapshots/")


def _a_cached_model(found: Found) -> str:
    parts = {part for name in found.names for part in name.split("/")[:-1]}
    return "give the id of a model in it: " + _some(filter(None, map(hub_id_of, sorted(parts))))


def _latest_step(found: Found) -> str:
    latest = max(found.below(), key=lambda name: int(name.rpartition("-")[2]))
    return found.fix(f"give its last checkpoint, {shell(found.on_disk / latest)}")


def _folder_below(found: Found) -> str:
    folders = [shell(found.on_disk / name) for name in found.below()]
    return found.fix(("give " if len(folders) == 1 else "give one of them: ") + _some(folders))


def _transformer_moved_up(found: Found) -> str:
    return found.fix(moved_up(found.on_disk / found.below()[0]))


def unquantized(name: str) -> str:
    """A name of a GGUF file or repository without what it says about rounding."""
    while (shorter := QUANTIZED_NAME.sub("", name)) != name:
        name = shorter
    return name


def _original_of_gguf(found: Found) -> str:
    for place in (*found.names, found.place, os.path.abspath(found.folder)):
        name = re.split(r"[/\\]", place)[-1]
        name = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", name, flags=re.IGNORECASE)
        if hub_id := published_id(unquantized(name)):
            return f"give the checkpoint that they were made from: {hub_id}"
    return "give the checkpoint that they were made from, with its *.safetensors files"


def _the_original(_: Found) -> str:
    return "give the checkpoint that it was made from, with config.json and *.safetensors files"


def _resaved(found: Found) -> str:
    new = f"{os.path.abspath(found.on_disk)}-safetensors"
    old = shell(found.on_disk)
    how = "convert them with torch and transformers (pip install 'qdeploy[verify]'), and give the"
    return found.fix(f"{how} result: {RESAVE} {old} {shell(new)}")


def _merged(found: Found) -> str:
    shards = shell(found.on_disk / found.below()[0])
    return found.fix(
        f"merge it with accelerate merge-weights {shards} OUT, and give a folder that has the "
        "result and the model's config.json and tokenizer"
    )


def _consolidated(found: Found) -> str:
    script, folder = shell(found.on_disk / "zero_to_fp32.py"), shell(found.on_disk)
    return found.fix(f"python {script} {folder} {folder} --safe_serialization")


def _renamed(found: Found) -> str:
    if len(found.names) > 1:
        return "give model.safetensors, or shards with their index, as save_pretrained writes them"
    return found.fix(f"rename {shell(found.on_disk / found.names[0])} to model.safetensors")


def _again(found: Found) -> str:
    return f"hf download ORGANIZATION/NAME --local-dir {shell(found.folder)} goes on with it"


def _some(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:SHOWN]) + (", ..." if len(every) > SHOWN else "")


KINDS = (
    Kind(re.escape(BUNDLE), "a bundle, which is exported already", _run_it),
    Kind(r"adapter_config\.json", "a LoRA adapter, which needs its base model", _with_its_base),
    Kind(r"(models/)?manifests/.+", "the models of Ollama, whose files are GGUF", _the_original),
    Kind(r"snapshots/.*|refs/main", "a model's folder in the hub's cache, above its snapshots",
         _main_snapshot),
    Kind(r"(hub/)?models--[^/]+/.*", "the hub's cache, which holds many models", _a_cached_model),
    Kind(r"zero_to_fp32\.py", "a state of DeepSpeed's training, not a model", _consolidated),
    Kind(r"(.+/)?__\d+_\d+\.distcp", "a sharded state of training, not a model",
         _merged),
    Kind(r"checkpoint-\d+/(config|adapter_config)\.json", "the folder of a training run",
         _latest_step),
    Kind(r"model_index\.json", "a pipeline of diffusers, not a language model", _the_original),
    Kind(r"\d+_Transformer/config\.json",
         "a model of sentence-transformers whose transformer is in a folder below",
         _transformer_moved_up),
    Kind(r"(?!\d+_[A-Z])([^/]+/){1,2}(config|adapter_config)\.json",
         "the model is in a folder below", _folder_below),
    Kind(r"\.cache/huggingface/download/.*\.incomplete", "a download that is not finished",
         _again),
    Kind(r".*\.gguf", "GGUF files, which hold rounded weights for llama.cpp", _original_of_gguf),
    Kind(r"openvino_model\.xml|.*_language_model\.xml", "OpenVINO IR, which is exported already",
         _the_original),
    Kind(r"(onnx/)?[^/]+\.onnx", "ONNX files, which are exported already", _the_original),
    Kind(r".*\.(engine|plan|tflite|task|litertlm|mnn|rkllm|nexa)|.*\.mlpackage/.*|"
         r"mlc-chat-config\.json", "files of another runtime, which are exported already",
         _the_original),
    Kind(r"weights(\.\d+)?\.npz", "weights of MLX, not of transformers", _the_original),
    Kind(r"[^/]+\.(h5|msgpack|ckpt\.index)", "weights of TensorFlow or Flax, not of PyTorch",
         _the_original),
    Kind(r"(?!training_args|optimizer|scheduler|rng_state|scaler)[^/]+\.(bin|pt|pth|pkl|ckpt)",
         "only pickled weights (.bin, .pt), which can run code when loaded", _resaved),
)  # fmt: skip
"""Rows from the most telling to the least; the first that matches a file of the folder counts."""
OTHER_WEIGHTS = Kind(
    r"(?!model\.safetensors$)[^/]+\.safetensors", "safetensors under another name", _renamed
)
"""Weights that neither transformers nor qdeploy looks for; config.json is there."""


def why_not_a_folder(
    folder: Path, missing: str, *, hub_id: str | None = None, names: Sequence[str] | None = None
) -> CheckpointError:
    """Return the error for a folder without a *missing* file, which every checkpoint has.

    A model of the hub has a *hub_id*, and files of these *names* there.
    """
    found = Found(folder, _listing(folder) if names is None else names, hub_id)
    whole = "config.json" in found.names
    for kind in (*KINDS, OTHER_WEIGHTS) if whole else KINDS:
        if matched := sorted(n for n in found.names if re.fullmatch(kind.pattern, n)):
            return CheckpointError(
                f"not a checkpoint: {kind.what}",
                where=found.place,
                fix=kind.fix(found._replace(names=matched)),
            )
    if part := snapshot_id(folder):
        what, fix = f"the hub's cache has no {missing} of it", f"hf download {part}"
    elif not found.names:
        what, fix = "the folder is empty", f"hf download ORG/NAME --local-dir {shell(folder)}"
    else:
        what = f"not a checkpoint: {missing} is missing"
        fix = "give the folder that holds config.json, tokenizer.json and *.safetensors"
    return CheckpointError(what, where=found.place, fix=fix)


def why_not_a_file(file: Path) -> CheckpointError:
    """Return the error for a file that was given in place of a checkpoint's folder."""
    above, found = file.parent, Found(file.parent, [file.name])
    of_model = (above / "config.json").is_file()
    if file.name.endswith(ARCHIVES):
        what, fix = "an archive, not a checkpoint directory", "unpack it, and give the folder"
    elif of_model and not file.name.endswith((".gguf", BUNDLE)):
        what, fix = "a file, not a checkpoint directory", f"give its folder, {shell(above)}"
    elif kind := next((k for k in KINDS if re.fullmatch(k.pattern, file.name)), None):
        what, fix = f"a file, not a checkpoint directory; {kind.what}", kind.fix(found)
    else:
        what = "a file, not a checkpoint directory"
        fix = "give the folder that holds config.json, tokenizer.json and *.safetensors"
    return CheckpointError(what, where=file, fix=fix)


def _listing(folder: Path) -> list[str]:
    """POSIX paths of files up to four folders below *folder*; those of empty folders end in `/`."""
    names: list[str] = []
    for root, folders, files in os.walk(folder):
        place = Path(root).relative_to(folder)
        names += [(place / file).as_posix() for file in files]
        if not files and not folders and place.parts:
            names.append(f"{place.as_posix()}/")
        if len(place.parts) >= 4:
            folders.clear()
        if len(names) >= MOST_NAMES:
            break
    return names
