"""A tiny checkpoint of a Llama 3: its kind of tokenizer and chat template, random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import tiny
from tests.support.tiny import LLAMA

BEGIN, END = "<|begin_of_text|>", "<|eot_id|>"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama 3's own: up to three digits make a word."""
NAMES = (
    BEGIN, "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", END,
)  # fmt: skip
UNREACHED = 60
"""Long tokens that no merge makes, which only `ignore_merges` gives."""
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def write(folder: Path, config: Mapping[str, Any] = LLAMA) -> Path:
    """Write a whole checkpoint and return its folder."""
    tiny.write(folder, config)
    write_tokenizer(folder)
    return folder


def is_english(word: str) -> bool:
    """Whether *word*, spelt as in a vocabulary, is of ASCII letters, perhaps after a space."""
    return word.removeprefix("Ġ").isascii() and word.removeprefix("Ġ").isalpha()


def write_tokenizer(folder: Path) -> None:
    """Make a Llama 3 tokenizer of the embedded model's that lies in *folder*."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    for token, name in zip(content["added_tokens"], NAMES, strict=False):
        token["content"] = name
    begin, end = content["added_tokens"][0]["id"], content["added_tokens"][4]["id"]
    model = content["model"]
    words = filter(is_english, map("".join, model["merges"]))
    longest = sorted(words, key=lambda word: (-len(word), word))[:UNREACHED]
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) not in longest]
    model["ignore_merges"] = True
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    before = {"SpecialToken": {"id": BEGIN, "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [before, text],
        "pair": [before, text, before, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {BEGIN: {"id": BEGIN, "ids": [begin], "tokens": [BEGIN]}},
    }
    content |= {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence", "pretokenizers": [split, bytes_ | {"use_regex": False}],
        },
        "post_processor": {
            "type": "Sequence", "processors": [bytes_ | {"use_regex": True}, template],
        },
    }  # fmt: skip
    file.write_text(json.dumps(content), "utf-8")
    settings = {
        "bos_token": BEGIN, "eos_token": END, "chat_template": TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    generation = {"bos_token_id": begin, "eos_token_id": [end]}
    (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")
