"""The tokenizer graphs of an OpenVINO bundle give the ids and texts of the tokenizers library."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.support import llama
from tests.support.native import export, resolve
from tests.support.tiny import DENSE

TEXTS = (
    "Hello world", "", " ", "\n", "   ", "  two  spaces\n\n\nnew\r\nlines\t\ttabs ",
    "你好，世界！这是一个测试。", "emoji 😀👨‍👩‍👧‍👦 and flags 🇩🇪🇨🇳", "العربية हिन्दी 日本語 한국어",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "<|im_start|><|im_start|>  <|im_end|>  x<|im_end", "a<|endoftext|>b",
    "e\u0301 combining é, ligature ﬁ, sign Å", "don't I'LL we'Ve 'S", "123456 7.89e10 -3",
    "\u200bzero\ufeffwidth\u00a0space\u3000\u2028", "\x00\x01\x7f", "\U0010ffff", "x" * 300,
    "def f(x):\n    return x**2  # comment\n", "ſßİ'",
)  # fmt: skip
ALPHABETS = ("abc XYZ 019 .,!?'\n\t", "你好世界，。 ab", "😀👍🏽 x\u0301é", "\r\n \t'sS<|>im_end")


def random_texts(count: int) -> Iterator[str]:
    generator = np.random.default_rng(0)
    for number in range(count):
        alphabet = list(ALPHABETS[number % len(ALPHABETS)])
        yield "".join(generator.choice(alphabet, generator.integers(1, 40)))


class Pair:
    """The graphs of a bundle, and the tokenizer they were made from."""

    def __init__(self, folder: Path, source: Path) -> None:
        ov = pytest.importorskip("openvino")
        pytest.importorskip("openvino_tokenizers")  # makes its operators known to openvino
        core = ov.Core()
        self._encode = core.compile_model(str(folder / "openvino_tokenizer.xml"), "CPU")
        self._decode = core.compile_model(str(folder / "openvino_detokenizer.xml"), "CPU")
        self.original = Tokenizer.from_file(str(source / "tokenizer.json"))

    def encode(self, *texts: str) -> tuple[list[list[int]], list[list[int]]]:
        found = self._encode(list(texts))
        return found["input_ids"].tolist(), found["attention_mask"].tolist()

    def decode(self, ids: list[int]) -> str:
        text: str = self._decode(np.array([ids], np.int64))["string_output"][0]
        return text


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def checkpoint(request: pytest.FixtureRequest, made: Callable[..., Path]) -> Path:
    """Qwen3's tokenizer; and Llama 3's, which takes whole words first and begins every text."""
    folder = made(DENSE)
    if request.param == "llama":
        llama.write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def pair(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = export(resolve(checkpoint), tmp_path_factory.mktemp("tokenizer") / "bundle")
    return Pair(folder, checkpoint)


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text: str, pair: Pair) -> None:
    wanted = pair.original.encode(text).ids
    assert pair.encode(text)[0] == [wanted]
    if wanted:
        assert pair.decode(wanted) == pair.original.decode(wanted)


def test_random_texts(pair: Pair) -> None:
    for text in random_texts(200):
        wanted = pair.original.encode(text).ids
        assert pair.encode(text)[0] == [wanted], repr(text)
        assert pair.decode(wanted) == pair.original.decode(wanted), repr(text)


def test_shorter_texts_are_padded_on_the_left(pair: Pair) -> None:
    padding = pair.original.token_to_id("<|endoftext|>")
    if padding is None:  # a Llama has no padding token, and is padded with its last token
        padding = pair.original.token_to_id(llama.END)
    long, short = pair.original.encode("a b c d").ids, pair.original.encode("a").ids
    ids, mask = pair.encode("a b c d", "a")
    missing = len(long) - len(short)
    assert ids == [long, [padding] * missing + short]
    assert mask == [[1] * len(long), [0] * missing + [1] * len(short)]


def test_half_a_character_becomes_a_replacement(pair: Pair) -> None:
    ids = pair.original.encode("😀", add_special_tokens=False).ids
    assert pair.decode(ids[:1]) == "\N{REPLACEMENT CHARACTER}"


def test_a_word_that_is_a_token_is_not_made_of_merges(
    made: Callable[..., Path], tmp_path: Path
) -> None:
    source = made(DENSE)
    llama.write_tokenizer(source)
    pair = Pair(export(resolve(source), tmp_path / "bundle"), source)
    content = json.loads((source / "tokenizer.json").read_text("utf-8"))
    made_by_merges = {*map("".join, content["model"]["merges"])}
    words = [
        pair.original.decode([number])
        for word, number in content["model"]["vocab"].items()
        if len(word) > 1 and word not in made_by_merges and llama.is_english(word)
    ]
    assert len(words) == llama.UNREACHED
    for word in words:
        wanted = pair.original.encode(word).ids
        assert pair.encode(word)[0] == [wanted], repr(word)
        assert len(wanted) == 2, repr(word)  # the token that begins a text, and the word


def change(folder: Path, **parts: Any) -> None:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | parts), "utf-8")


def test_an_added_token_of_any_script(made: Callable[..., Path], tmp_path: Path) -> None:
    source = made(DENSE)
    content = json.loads((source / "tokenizer.json").read_text("utf-8"))
    number = max(t["id"] for t in content["added_tokens"]) + 1
    token = content["added_tokens"][-1] | {"id": number, "content": "<|é你好|>", "special": False}
    change(source, added_tokens=[*content["added_tokens"], token])
    settings = json.loads((source / "tokenizer_config.json").read_text("utf-8"))
    settings["added_tokens_decoder"][str(number)] = {k: v for k, v in token.items() if k != "id"}
    (source / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    pair = Pair(export(resolve(source), tmp_path / "bundle"), source)
    assert pair.encode("a<|é你好|>b")[0] == [pair.original.encode("a<|é你好|>b").ids]
    assert pair.decode([number]) == "<|é你好|>"
