"""The steps that classes of tokenizers build around a vocabulary, as in transformers 5.5.

They are parts of a `tokenizer.json`: normalizer, pre-tokenizer, model and decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 and Qwen3 split a text into words: each digit is one."""
SPACE = "\u2581"
"""How SentencePiece spells a space."""
MATERIAL = ("normalizer", "pre_tokenizer", "model")
"""The steps that decide the ids of a text."""

Steps = dict[str, Any]


def qwen2_steps(model: Mapping[str, Any], settings: Mapping[str, Any]) -> Steps:
    """Those of `tokenization_qwen2.py`, around the vocabulary and merges of *model*."""
    split = {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False}
    prefix = bool(settings.get("add_prefix_space"))
    words = [split, _byte_level(prefix, use_regex=False)]
    return {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": words},
        "decoder": _byte_level(True, use_regex=True),
        "model": _bpe(model, continuing_subword_prefix="", end_of_word_suffix=""),
    }


def llama_steps(model: Mapping[str, Any], settings: Mapping[str, Any]) -> Steps:
    """Those of `tokenization_llama.py`: spaces as in SentencePiece, unknown characters as bytes."""
    prefix = settings.get("add_prefix_space")
    prefix = True if prefix is None else bool(prefix)
    scheme = "always" if settings.get("legacy", False) else "first"
    decoders = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    return {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": SPACE,
            "prepend_scheme": scheme if prefix else "never",
            "split": False,
        },
        "decoder": {"type": "Sequence", "decoders": [*decoders, *([strip] if prefix else [])]},
        "model": _bpe(model, fuse_unk=True, byte_fallback=True),
    }


def _bpe(model: Mapping[str, Any], **options: Any) -> Steps:
    off = dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False)
    none = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
    tables = {"vocab": model["vocab"], "merges": model["merges"]}
    return {"type": "BPE", **dict.fromkeys(none), **off, **options, **tables}


def _byte_level(add_prefix_space: bool, *, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def is_byte_level(content: Mapping[str, Any]) -> bool:
    """Whether the vocabulary of a `tokenizer.json` spells bytes, by its decoder."""
    decoder = content.get("decoder") or {}
    return any(s.get("type") == "ByteLevel" for s in (decoder, *decoder.get("decoders", [])))


def different_steps(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the steps that give another result in *one* `tokenizer.json` than in the *other*."""
    names = [name for name in MATERIAL if _essence(one.get(name)) != _essence(other.get(name))]
    decoders = [(content.get("decoder") or {}).get("type") for content in (one, other)]
    return [*names, "decoder"] if decoders[0] != decoders[1] else names


def _essence(step: Any) -> Any:
    """A step without what changes no id: offsets, tables, and options that are off."""
    if not isinstance(step, dict):
        return step
    if step.get("type") == "Sequence":
        (steps,) = (value for key, value in step.items() if key != "type")
        return _essence(steps[0]) if len(steps) == 1 else [_essence(inner) for inner in steps]
    if step.get("type") == "ByteLevel":
        step = {"use_regex": True, "add_prefix_space": True, **step}
    skipped = ("trim_offsets", "vocab", "merges")
    return {key: value for key, value in step.items() if value and key not in skipped}
