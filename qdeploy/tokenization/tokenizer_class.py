"""The class that transformers runs a tokenizer with, and what that class makes of its files.

Most classes take `tokenizer.json` as it is. `Qwen2Tokenizer` and `LlamaTokenizer` of transformers 5
take the vocabulary and the merges from it, and build the other steps themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qdeploy.tokenization.built_steps import Steps, is_byte_level, llama_steps, qwen2_steps
from qdeploy.tokenization.text_files import CONFIG_FILE, TOKENIZER_FILE, TextFiles

QWEN2, LLAMA = "Qwen2Tokenizer", "LlamaTokenizer"
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class TokenizerClass:
    """One class.

    Attributes:
        name: without the ending `Fast`.
        defaults: special tokens where the settings say nothing.
        build: makes the steps around a vocabulary; None for a class that takes the file's.
        marks_special: makes special tokens of those that the settings name, whatever they were.
    """

    name: str
    defaults: Mapping[str, str] = field(default_factory=dict)
    build: Callable[[Mapping[str, Any], Mapping[str, Any]], Steps] | None = None
    marks_special: bool = False


AS_STORED = TokenizerClass("PreTrainedTokenizerFast")
CLASSES = {
    QWEN2: TokenizerClass(
        QWEN2,
        {"unk_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT},
        qwen2_steps,
        marks_special=True,
    ),
    LLAMA: TokenizerClass(
        LLAMA, {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, llama_steps
    ),
}
OF_MODEL_TYPE = dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next"), QWEN2)
"""The class of a model, by `model_type`; transformers' table has more, of models that qdeploy does
not know."""
LLAMA_TYPE = "llama"
"""The type that has no class of its own in transformers' table; most others have one that takes a
file that is called a `LlamaTokenizer` as it is."""


def tokenizer_class(files: TextFiles, settings: Mapping[str, Any]) -> TokenizerClass:
    """The class that `AutoTokenizer` chooses.

    Settings that name another class than the model's are not believed: the file is taken as it is.
    """
    config = files.json(CONFIG_FILE)
    model_type = config.get("model_type")
    usual = OF_MODEL_TYPE.get(str(model_type))
    named = _without_fast(settings.get("tokenizer_class"))
    if usual and named and named != usual and files.has(TOKENIZER_FILE):
        return AS_STORED
    name = named or _without_fast(config.get("tokenizer_class")) or usual
    if name == LLAMA and model_type not in (None, LLAMA_TYPE):
        return AS_STORED
    return CLASSES.get(name or "", AS_STORED)


def _without_fast(name: object) -> str | None:
    return name.removesuffix("Fast") if isinstance(name, str) else None


def is_mislabelled(chosen: TokenizerClass, content: Mapping[str, Any]) -> bool:
    """Whether a byte-level `tokenizer.json` is called a `LlamaTokenizer`, which SentencePiece is.

    DeepSeek's distilled Llamas are. transformers 5 then loses the spaces of a text
    (huggingface/transformers#45488); transformers 4 took the file as it is.
    """
    return chosen.name == LLAMA and is_byte_level(content)
