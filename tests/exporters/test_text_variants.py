"""What runtimes with a tokenizer of their own are told agrees with what qdeploy itself reads."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from unicodedata import is_normalized

import pytest

from qdeploy.exporters.native.exporter import WRITERS
from qdeploy.planning.formats import ONNX, OPENVINO
from qdeploy.tokenization.bundle_text import write_text_files
from qdeploy.tokenization.text_files import find_text_files
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.native import export, resolve
from tests.support.tiny import DENSE, write
from tests.support.tokenizer_variants import CONFIG, GENERATION, VARIANTS, copy_text

TEXTS = (
    "Hello world, it's 12345!", "a<new>  b <a><sep>", "<|im_start|>user\n你好<|im_end|>\n<think>",
    "e\u0301 and 🚀",
)  # fmt: skip
FORMS = (
    "padding", "a post-processor in a sequence", "other words in the file", "no normalizer",
    "split_special_tokens", "a token in the settings alone", "special tokens by name alone",
    "an empty list of tokens", "a word becomes special", "slow, add_bos_token", "older files",
)  # fmt: skip
READ_BY_GENAI = (
    "as it is", "padding", "class TokenizersBackend", "slow, no settings", "Llama 3",
    "a token in the settings alone", "special tokens by name alone", "no normalizer",
)  # fmt: skip
ENDS = [2046, 2024, 2022]


def checkpoint(folder: Path, name: str) -> Path:
    """A checkpoint with room for a few more tokens, whose tokenizer has the form *name*."""
    write(folder, DENSE | {"vocab_size": 2100, "eos_token_id": ENDS})
    config = (folder / CONFIG).read_bytes()
    VARIANTS[name](copy_text(folder))
    (folder / CONFIG).write_bytes(config)
    return folder


@pytest.mark.parametrize("name", FORMS)
def test_openvino_makes_the_same_ids(name: str, tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    pytest.importorskip("openvino_tokenizers")  # makes its operators known to openvino
    source = checkpoint(tmp_path / "model", name)
    WRITERS[OPENVINO.name].write_tokenizer(resolve(source), tmp_path)
    graph = ov.Core().compile_model(str(tmp_path / OPENVINO.files["tokenizer"]), "CPU")
    tokenizer = Tokenizer(source)
    for text in TEXTS:
        assert graph([text])["input_ids"].tolist() == [tokenizer.encode(text, special=True)], text


def test_onnxruntime_genai_makes_the_same_ids(tmp_path: Path) -> None:
    """Its own tokenizer, for who uses a bundle without qdeploy. It has no Unicode normalization."""
    genai = pytest.importorskip("onnxruntime_genai")
    source = write(tmp_path / "model", DENSE)
    made = export(resolve(source, format=ONNX.name), tmp_path / "bundle")
    for name in READ_BY_GENAI:
        form = copy_text(tmp_path / name)
        VARIANTS[name](form)
        write_text_files(find_text_files(form), made)
        theirs, ours = genai.Tokenizer(genai.Model(str(made))), Tokenizer(made)
        for text in filter(partial(is_normalized, "NFC"), TEXTS):
            assert list(theirs.encode(text)) == ours.encode(text), (name, text)


def test_every_runtime_has_the_same_stop_tokens(tmp_path: Path) -> None:
    """Those of config.json, which runtimes do not look at, with the tokenizer's own one first."""
    source = checkpoint(tmp_path / "model", "as it is")
    (source / GENERATION).unlink()
    made = export(resolve(source, format=ONNX.name), tmp_path / "bundle")
    WRITERS[OPENVINO.name].write_tokenizer(resolve(source), made)
    write_text_files(find_text_files(source), made)
    told = json.loads((made / ONNX.files["genai_config"]).read_text("utf-8"))["model"]
    assert told["eos_token_id"] == [2024, 2046, 2022]
    graph = (made / OPENVINO.files["tokenizer"]).read_text("utf-8")
    assert '<eos_token_id value="2024" />' in graph
    assert json.loads((made / GENERATION).read_text("utf-8")) == {"eos_token_id": ENDS}
    assert Tokenizer(made).stop_ids == set(ENDS)
