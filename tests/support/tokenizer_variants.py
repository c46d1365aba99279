"""Tokenizers in the forms that checkpoints have: each the embedded model's, saved otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qdeploy import models
from tests.support import llama

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
CONFIG, GENERATION = "config.json", "generation_config.json"
NEW = {"content": "<new>", "single_word": False, "lstrip": False, "rstrip": False,
       "normalized": False, "special": False}  # fmt: skip
"""A token of no vocabulary."""
FILES = (CONFIG, SETTINGS, TOKENIZER, GENERATION)

Change = Callable[[Path], None]


def copy_text(folder: Path) -> Path:
    """Copy the textual files of the embedded model and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(models.path("qwen3-nano") / name, folder / name)
    return folder


def read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text("utf-8"))
    return content


def update(folder: Path, name: str, *removed: str, **changes: Any) -> None:
    """Change keys of a JSON file, and remove others; a file that is not there is made."""
    content = read(folder, name) if (folder / name).exists() else {}
    content = {key: value for key, value in (content | changes).items() if key not in removed}
    (folder / name).write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def settings(*removed: str, **changes: Any) -> Change:
    return lambda folder: update(folder, SETTINGS, *removed, **changes)


def stored(**changes: Any) -> Change:
    return lambda folder: update(folder, TOKENIZER, **changes)


def both(*changes: Change) -> Change:
    def apply(folder: Path) -> None:
        for change in changes:
            change(folder)

    return apply


def smaller(folder: Path) -> None:
    """Leave out the last twenty words, so that ids are free."""
    content = read(folder, TOKENIZER)
    model = content["model"]
    model["vocab"] = {text: n for text, n in model["vocab"].items() if n < len(model["vocab"]) - 20}
    model["merges"] = [m for m in model["merges"] if "".join(m) in model["vocab"]]
    lowest = len(model["vocab"])
    tokens = [t | {"id": lowest + n} for n, t in enumerate(content["added_tokens"])]
    update(folder, TOKENIZER, model=model, added_tokens=tokens)
    listed = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in tokens}
    update(folder, SETTINGS, added_tokens_decoder=listed)
    update(folder, GENERATION, eos_token_id=[lowest + 2, lowest])
    update(folder, CONFIG, eos_token_id=lowest + 2)


def add_to_file(folder: Path, **flags: Any) -> None:
    content = read(folder, TOKENIZER)
    number = max(t["id"] for t in content["added_tokens"]) + 1
    update(folder, TOKENIZER, added_tokens=[*content["added_tokens"], NEW | {"id": number} | flags])


def add_to_settings(folder: Path, **flags: Any) -> None:
    listed = read(folder, SETTINGS)["added_tokens_decoder"]
    number = max(map(int, listed)) + 1
    update(folder, SETTINGS, added_tokens_decoder={**listed, str(number): NEW | flags})


def out_of_order(folder: Path) -> None:
    """Give the added tokens ids with gaps, which the tokenizers library closes."""
    content = read(folder, TOKENIZER)
    tokens = [t | {"id": t["id"] + 5 * n} for n, t in enumerate(content["added_tokens"])]
    update(folder, TOKENIZER, added_tokens=tokens)


def slow(folder: Path) -> None:
    """Save `vocab.json` and `merges.txt` in place of `tokenizer.json`."""
    model = read(folder, TOKENIZER)["model"]
    update(folder, "vocab.json", **model["vocab"])
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / TOKENIZER).unlink()


def older(folder: Path) -> None:
    """Save as transformers did before it listed added tokens in the settings."""
    tokens = read(folder, SETTINGS)["added_tokens_decoder"]
    found = {t["content"]: int(number) for number, t in tokens.items()}
    (folder / "added_tokens.json").write_text(json.dumps(found), "utf-8")
    named = {"eos_token": NEW | {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>",
             "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}  # fmt: skip
    (folder / "special_tokens_map.json").write_text(json.dumps(named), "utf-8")
    update(folder, SETTINGS, "added_tokens_decoder", "additional_special_tokens", "pad_token")


def processors(*steps: Any) -> Change:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                  "use_regex": False}  # fmt: skip
    return stored(post_processor={"type": "Sequence", "processors": [byte_level, *steps]})


def template(token: str, number: int) -> dict[str, Any]:
    """A post-processor that puts a token before and after a text."""
    part = {"SpecialToken": {"id": token, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing", "single": [part, text, part],
        "pair": [part, text, part, second, part],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }  # fmt: skip


def sentencepiece(folder: Path) -> None:
    """A tokenizer in the form of Llama 2's: spaces as a character, unknown ones as bytes."""
    words = ("\u2581a", "\u2581the", "in", "\u2581is", "\u2581\u2581", "th", "the")
    letters = sorted({*"abcdefghijklmnopqrstuvwxyzTHW.,!?'", "\u2581", *"0123456789"})
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), *letters, *words]
    merges = ["t h", "th e", "\u2581 a", "\u2581 the", "i n", "\u2581 \u2581"]
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    update(
        folder, TOKENIZER,
        normalizer={
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, spaces],
        },
        pre_tokenizer=None,
        post_processor=template("<s>", 1),
        decoder={
            "type": "Sequence",
            "decoders": [
                back, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        model={
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True,
            "byte_fallback": True, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "vocab": {text: number for number, text in enumerate(texts)}, "merges": merges,
        },
        added_tokens=[
            {"id": n, **NEW, "content": text, "special": True} for n, text in enumerate(texts[:3])
        ],
    )  # fmt: skip
    (folder / SETTINGS).unlink()
    update(folder, SETTINGS, tokenizer_class="LlamaTokenizer", eos_token="</s>", bos_token="<s>")
    update(folder, CONFIG, model_type="llama", eos_token_id=2)
    update(folder, GENERATION, eos_token_id=2)


def llama_3(folder: Path) -> None:
    llama.write_tokenizer(folder)
    update(folder, CONFIG, model_type="llama")


PADDING = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None,
           "pad_id": 2022, "pad_type_id": 0, "pad_token": "<|endoftext|>"}  # fmt: skip
TRUNCATION = {
    "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0,
}  # fmt: skip
DIGITS = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": False},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    ],
}
PLAIN_CLASS = settings(tokenizer_class="PreTrainedTokenizerFast")


def both_kinds(folder: Path) -> None:
    """Save the slow tokenizer's files too, beside `tokenizer.json`."""
    content = (folder / TOKENIZER).read_bytes()
    slow(folder)
    (folder / TOKENIZER).write_bytes(content)


def stale(folder: Path) -> None:
    """Leave the files of before a change beside the new ones."""
    both_kinds(folder)
    newer = (folder / SETTINGS).read_bytes()
    older(folder)
    (folder / SETTINGS).write_bytes(newer)
    smaller(folder)


VARIANTS: dict[str, Change] = {
    "as it is": settings(),
    "truncation": stored(truncation=TRUNCATION),
    "padding": stored(padding=PADDING),
    "truncation and padding, plain class": both(
        stored(truncation=TRUNCATION, padding=PADDING), PLAIN_CLASS
    ),
    "padding names the token": both(
        stored(padding=PADDING), PLAIN_CLASS, settings("pad_token")
    ),
    "a post-processor in a sequence": processors(template("<|endoftext|>", 2022)),
    "a post-processor, plain class": both(
        processors(template("<|im_start|>", 2023)), PLAIN_CLASS
    ),
    "no post-processor": stored(post_processor=None),
    "class Qwen2TokenizerFast": settings(tokenizer_class="Qwen2TokenizerFast"),
    "class PreTrainedTokenizerFast": PLAIN_CLASS,
    "class TokenizersBackend": settings(tokenizer_class="TokenizersBackend"),
    "class LlamaTokenizerFast": settings(tokenizer_class="LlamaTokenizerFast"),
    "no class": settings("tokenizer_class"),
    "no class, no model type": both(
        settings("tokenizer_class"), lambda f: update(f, CONFIG, "model_type")
    ),
    "no settings": lambda f: (f / SETTINGS).unlink(),
    "other words in the file": stored(pre_tokenizer=DIGITS),
    "other words in the file, plain class": both(stored(pre_tokenizer=DIGITS), PLAIN_CLASS),
    "no normalizer": stored(normalizer=None),
    "no normalizer, plain class": both(stored(normalizer=None), PLAIN_CLASS),
    "add_prefix_space": settings(add_prefix_space=True),
    "add_prefix_space, plain class": both(settings(add_prefix_space=True), PLAIN_CLASS),
    "add_bos_token": settings(add_bos_token=True, bos_token="<|im_start|>"),
    "clean_up_tokenization_spaces": settings(clean_up_tokenization_spaces=True),
    "split_special_tokens": settings(split_special_tokens=True),
    "a token in the file alone": both(smaller, add_to_file),
    "a token in the file alone, plain class": both(smaller, add_to_file, PLAIN_CLASS),
    "a token in the settings alone": both(smaller, add_to_settings),
    "a token in the settings alone, plain class": both(smaller, add_to_settings, PLAIN_CLASS),
    "a token with other flags": both(
        smaller, add_to_file, lambda f: add_to_settings(f, lstrip=True, special=True)
    ),
    "a token with other flags, plain class": both(
        smaller, add_to_file, lambda f: add_to_settings(f, lstrip=True), PLAIN_CLASS
    ),
    "special tokens by name alone": both(
        smaller, settings(extra_special_tokens=["<a>", "<b>"], sep_token="<sep>")
    ),
    "special tokens by name alone, plain class": both(
        smaller, PLAIN_CLASS, settings(additional_special_tokens=["<a>"], image_token="<image>")
    ),
    "special tokens in an object": both(
        smaller, settings("additional_special_tokens", extra_special_tokens={"box_token": "<box>"})
    ),
    "a word becomes special": settings(bos_token="the", extra_special_tokens=["and"]),
    "ids with gaps": out_of_order,
    "ids with gaps, plain class": both(out_of_order, PLAIN_CLASS),
    "no tokens are listed": settings("added_tokens_decoder"),
    "no tokens are listed, plain class": both(settings("added_tokens_decoder"), PLAIN_CLASS),
    "an empty list of tokens": settings(added_tokens_decoder={}),
    "older files": older,
    "older files, plain class": both(older, PLAIN_CLASS),
    "slow": slow,
    "slow and older": both(older, slow),
    "slow, no settings": both(slow, lambda f: (f / SETTINGS).unlink()),
    "slow, add_bos_token": both(
        slow, settings(add_bos_token=True, bos_token="<|im_start|>", add_eos_token=True)
    ),
    "slow, older and beside a map": both(
        older, slow, lambda f: update(f, "special_tokens_map.json", bos_token="<|im_start|>")
    ),
    "slow and fast": both_kinds,
    "slow and older beside newer": stale,
    "unset tokens": settings(eos_token=None, pad_token=None, unk_token=None),
    "tokens that are not named": settings("eos_token", "pad_token", "unk_token"),
    "Llama 2": sentencepiece,
    "Llama 2, legacy": both(sentencepiece, settings(legacy=True)),
    "Llama 2, no prefix": both(sentencepiece, settings(add_prefix_space=False)),
    "Llama 2, plain class": both(sentencepiece, PLAIN_CLASS),
    "Llama 2, tokens that are not named": both(sentencepiece, settings("eos_token", "bos_token")),
    "Llama 2 of another type": both(
        sentencepiece, lambda folder: update(folder, CONFIG, model_type="mistral")
    ),
    "Llama 3": llama_3,
}  # fmt: skip
"""What people have, by name."""

MISREAD: dict[str, Change] = {
    "Llama 3 called a Llama 2": both(llama_3, settings(tokenizer_class="LlamaTokenizerFast")),
}
"""What transformers 5 reads wrongly."""
