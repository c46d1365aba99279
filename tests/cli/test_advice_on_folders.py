"""A folder that is no checkpoint: the refusal says what it is, and its fix, if followed, works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.checkpoints import write_checkpoint, write_shards, write_sidecars
from tests.support.command import QuickCommand
from tests.support.encoding import write_embedding
from tests.support.tiny import DENSE

TARGET = ("--target", "intel-cpu")
Lay = Callable[[Path], object]
GIVEN = re.compile(r"give (?:one of them: |its last checkpoint, |its folder, )?(\S+?)(?:,|$)")


def touch(*names: str) -> Lay:
    def lay(folder: Path) -> None:
        for name in names:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")

    return lay


def moved_below(*below: str, last: str | None = None) -> Lay:
    """Checkpoints in folders below, of which *last* alone is whole."""

    def lay(folder: Path) -> None:
        for name in below:
            write_checkpoint(folder / name)
            if last not in (None, name):
                (folder / name / "tokenizer.json").unlink()

    return lay


def hub_cache(folder: Path) -> None:
    """A model's folder as the hub's cache has it, with an older snapshot that is not whole."""
    write_checkpoint(folder / "snapshots" / "bbbb")
    touch("snapshots/aaaa/config.json", "blobs/0123", "refs/main")(folder)
    (folder / "refs" / "main").write_text("bbbb")


def given(fix: str) -> str:
    """The folder that a fix says to give."""
    match = GIVEN.search(fix)
    assert match, fix
    return match[1]


def test_a_model_of_sentence_transformers_in_parts(here: Path, quick: QuickCommand) -> None:
    folder = write_embedding(here / "it")
    part = folder / "0_Transformer"
    part.mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / file).rename(part / file)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = part.name
    (folder / "modules.json").write_text(json.dumps(modules))
    for model in ("it", "it/0_Transformer"):
        refused = quick("plan", model, *TARGET)
        refused.fails(2, "of sentence-transformers")
    move = refused.stderr.partition("move its files up, ")[2].partition(", and")[0]
    subprocess.run(["bash", "-c", move], check=True)
    assert json.loads(quick("plan", "it", *TARGET, "--json").stdout)["task"] == "embed"


@pytest.mark.parametrize(
    ("name", "lay", "says"),
    [
        ("run", moved_below("checkpoint-500", "checkpoint-1000", last="checkpoint-1000"),
         "a training run"),
        ("nested", moved_below("hf/model"), "in a folder below"),
        ("several", moved_below("a", "b"), "in a folder below"),
        ("models--Qwen--Qwen3-0.6B", hub_cache, "a model's folder in the hub's cache"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_folder_above_the_checkpoint(
    name: str, lay: Lay, says: str, here: Path, quick: QuickCommand
) -> None:
    lay(here / name)
    refused = quick("plan", name, *TARGET)
    refused.fails(2, name, says)
    followed = quick("plan", given(refused.stderr), *TARGET)
    assert followed.code == 0, followed.stderr


def test_the_hubs_cache_itself(here: Path, quick: QuickCommand) -> None:
    for root in ("hub", "huggingface/hub"):
        hub_cache(here / root / "models--Qwen--Qwen3-0.6B")
    for root in ("hub", "huggingface"):
        refused = quick("plan", root, *TARGET)
        refused.fails(2, "the hub's cache, which holds many models")
        assert quick("plan", refused.stderr.split()[-1], *TARGET).code == 0


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_of_a_checkpoint(name: str, model: Path, quick: QuickCommand) -> None:
    refused = quick("plan", f"{model.name}/{name}", *TARGET)
    refused.fails(2, "a file, not a checkpoint directory")
    assert quick("plan", given(refused.stderr), *TARGET).code == 0


@pytest.mark.parametrize(
    ("name", "lay"),
    [
        ("Qwen3-0.6B-GGUF", touch("Qwen3-0.6B-Q8_0.gguf")),
        ("gguf", touch("qwen3-0.6b-q4_k_m.gguf", "README.md", "config.json")),
        ("split", touch("Q4/Qwen3-0.6B-UD-Q4_K_XL-00001-of-00002.gguf")),
        ("Qwen3-0.6B-bf16", touch("bf16.gguf")),
        ("weights/Qwen3-0.6B.Q8_0.gguf", lambda file: touch(file.name)(file.parent)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_gguf_files_name_the_published_original(
    name: str, lay: Lay, here: Path, quick: QuickCommand
) -> None:
    lay(here / name)
    refused = quick("plan", name, *TARGET)
    refused.fails(2, "GGUF files")
    assert quick("plan", refused.stderr.split()[-1], *TARGET).code == 0


class TestAdapter:
    def test_is_given_with_the_base_that_it_names(
        self, adapter: Path, model: Path, quick: QuickCommand
    ) -> None:
        for place in ("adapter", "adapter/adapter_config.json"):
            refused = quick("export", place, *TARGET)
            refused.fails(2, "a LoRA adapter, which needs its base model")
            match = re.search(r"give (\S+) as the model, with (--adapter \S+)", refused.stderr)
            assert match
            assert match[1] == str(model)
            done = quick("export", match[1], *TARGET, *match[2].split(), "--dry-run")
            assert done.code == 0, done.stderr

    @pytest.mark.parametrize(
        ("base", "says"),
        [("someone/qwen3-tuned", "give someone/qwen3-tuned as the model"),
         ("/home/ann/qwen3", "give the model that it was trained on (then at /home/ann/qwen3) as")],
    )  # fmt: skip
    def test_of_a_base_elsewhere(
        self, base: str, says: str, adapter: Path, quick: QuickCommand
    ) -> None:
        text = json.dumps({"base_model_name_or_path": base})
        (adapter / "adapter_config.json").write_text(text)
        quick("export", "adapter", *TARGET).fails(2, says)

    def test_of_an_unnamed_base(self, adapter: Path, quick: QuickCommand) -> None:
        for config in ("{}", "[]", "{", '{"base_model_name_or_path": 5}'):
            (adapter / "adapter_config.json").write_text(config)
            quick("export", "adapter", *TARGET).fails(2, "the model that it was trained on")


def test_a_bundle_is_run_and_not_exported(bundle: Path, quick: QuickCommand) -> None:
    for place in ("bundle", "bundle/qdeploy.json"):
        refused = quick("export", place, *TARGET)
        refused.fails(2, "a bundle, which is exported already")
        command = re.search(r"qdeploy (run .*?);", refused.stderr)
        assert command
        assert quick(*shlex.split(command[1]), "hi").code == 0


@pytest.mark.parametrize("task", ["embed", "rerank"])
def test_a_bundle_is_run_by_the_command_of_its_task(
    task: str, bundle: Path, quick: QuickCommand
) -> None:
    manifest = json.loads((bundle / "qdeploy.json").read_text())
    (bundle / "qdeploy.json").write_text(json.dumps(manifest | {"task": {"name": task}}))
    quick("export", "bundle", *TARGET).fails(2, f"fix: qdeploy {task} bundle;")


def test_weights_under_another_name_are_renamed(model: Path, quick: QuickCommand) -> None:
    (model / "model.safetensors").rename(model / "my tuned.safetensors")
    refused = quick("plan", "model", *TARGET)
    refused.fails(2, "safetensors under another name")
    match = re.search(r"rename '(.*)' to (\S+)", refused.stderr)
    assert match
    (model.parent / match[1]).rename(model / match[2])
    assert quick("plan", "model", *TARGET).code == 0


@pytest.mark.slow
def test_pickled_weights_are_converted(here: Path, quick: QuickCommand) -> None:
    """By transformers, which reads them without running their code."""
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    tiny.write(here / "model", DENSE)
    weights = here / "model" / "model.safetensors"
    torch.save(safetensors.load_file(weights), here / "model" / "pytorch_model.bin")
    weights.unlink()
    refused = quick("plan", "model", *TARGET)
    refused.fails(2, "only pickled weights")
    match = re.search(r"(python -c \".*\") (\S+) (\S+)$", refused.stderr)
    assert match
    command = [sys.executable, *shlex.split(match[1])[1:], match[2], match[3]]
    subprocess.run(command, cwd=here, check=True, capture_output=True)
    done = quick("plan", match[3], *TARGET)
    assert done.code == 0, done.stderr


@pytest.mark.parametrize(
    ("names", "says", "fix"),
    [
        ((), "the folder is empty", "hf download"),
        (("README.md",), "config.json is missing", "give the folder that holds config.json"),
        (("model_index.json", "unet/config.json"), "diffusers", "the checkpoint that"),
        (("openvino_model.xml", "openvino_model.bin"), "OpenVINO IR", "the checkpoint that"),
        (("config.json", "onnx/model.onnx"), "ONNX files", "the checkpoint that"),
        (("mlc-chat-config.json", "params_shard_0.bin"), "another runtime", "the checkpoint that"),
        (("weights.npz", "config.json"), "weights of MLX", "the checkpoint that"),
        (("config.json", "tf_model.h5"), "TensorFlow or Flax", "the checkpoint that"),
        (("zero_to_fp32.py", "global_step5/a.pt", "config.json"), "DeepSpeed",
         "python x/zero_to_fp32.py x x --safe_serialization"),
        (("pytorch_model_fsdp_0/__0_0.distcp", "config.json"), "a sharded state",
         "accelerate merge-weights x/pytorch_model_fsdp_0 OUT"),
        (("manifests/registry.ollama.ai/library/qwen3/8b", "blobs/sha256-01"), "Ollama",
         "the checkpoint that"),
        ((".cache/huggingface/download/a.incomplete", "config.json"), "not finished", "goes on"),
        (("config.json", "a.safetensors", "b.safetensors"), "another name", "save_pretrained"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_else_a_folder_may_be(
    names: tuple[str, ...], says: str, fix: str, here: Path, quick: QuickCommand
) -> None:
    write_sidecars(here / "x", DENSE)
    for file in (here / "x").iterdir():
        if file.name not in names:
            file.unlink()
    touch(*(name for name in names if name != "config.json"))(here / "x")
    quick("plan", "x", *TARGET).fails(2, "error: x: ", says, fix)


def test_an_archive_is_unpacked(model: Path, quick: QuickCommand) -> None:
    shutil.make_archive("model", "zip", model)
    archive = model.parent / "model.zip"
    shutil.move("model.zip", archive)
    quick("plan", "model.zip", *TARGET).fails(2, "an archive", "unpack it, and give the folder")


def test_shards_below_a_training_run(here: Path, quick: QuickCommand) -> None:
    write_shards(here / "run" / "checkpoint-2")
    refused = quick("plan", "run")
    assert quick("plan", given(refused.stderr)).code == 0
