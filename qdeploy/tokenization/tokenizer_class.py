"""The class that transformers runs a tokenizer with, and what that class makes of its files.

Most classes take `tokenizer.json` as it is. `Qwen2Tokenizer` of transformers 5 takes the vocabulary
and the merges from it, and builds the other steps itself (`tokenization_qwen2.py`, 5.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qdeploy.tokenization.text_files import CONFIG_FILE, TOKENIZER_FILE, TextFiles

QWEN2 = "Qwen2Tokenizer"
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 and Qwen3 split a text into words: each digit is one."""
END_OF_TEXT = "<|endoftext|>"
MATERIAL = ("normalizer", "pre_tokenizer", "model")
"""The steps that decide the ids of a text."""


@dataclass(frozen=True)
class TokenizerClass:
    """One class.

    Attributes:
        name: without the ending `Fast`.
        defaults: special tokens where the settings say nothing.
        builds: whether it builds the steps around the vocabulary by itself.
    """

    name: str
    defaults: Mapping[str, str] = field(default_factory=dict)
    builds: bool = False


AS_STORED = TokenizerClass("TokenizersBackend")
CLASSES = {
    QWEN2: TokenizerClass(
        QWEN2,
        {"unk_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT},
        builds=True,
    )
}
OF_MODEL_TYPE = dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next"), QWEN2)
"""The class of a model, by `model_type`; transformers' table has more, of classes that all take the
file as it is or belong to models that qdeploy does not know."""


def tokenizer_class(files: TextFiles, settings: Mapping[str, Any]) -> TokenizerClass:
    """The class that `AutoTokenizer` chooses.

    Settings that name another class than the model's are not believed: the file is taken as it is.
    """
    config = files.json(CONFIG_FILE)
    usual = OF_MODEL_TYPE.get(str(config.get("model_type")))
    named = _without_fast(settings.get("tokenizer_class"))
    if usual and named and named != usual and files.has(TOKENIZER_FILE):
        return AS_STORED
    name = named or _without_fast(config.get("tokenizer_class")) or usual
    return CLASSES.get(name or "", AS_STORED)


def _without_fast(name: object) -> str | None:
    return name.removesuffix("Fast") if isinstance(name, str) else None


def built_steps(model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `Qwen2Tokenizer` builds around the vocabulary and the merges of *model*."""
    prefix = bool(settings.get("add_prefix_space"))
    split = {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False}
    return {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split, _byte_level(prefix, use_regex=False)],
        },
        "decoder": _byte_level(True, use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": model["vocab"],
            "merges": model["merges"],
        },
    }


def _byte_level(add_prefix_space: bool, *, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


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
