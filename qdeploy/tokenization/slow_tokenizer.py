"""A tokenizer from `vocab.json` and `merges.txt`, which Qwen's first checkpoints and trainers have.

It becomes the content of a `tokenizer.json`, as transformers' `Qwen2Tokenizer` (5.5) builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdeploy.errors import CheckpointError
from qdeploy.tokenization.built_steps import qwen2_steps
from qdeploy.tokenization.special_tokens import SpecialTokens
from qdeploy.tokenization.text_files import (
    MERGES_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    VOCAB_FILE,
    TextFiles,
)
from qdeploy.tokenization.tokenizer_class import QWEN2, TokenizerClass

FIX = (
    'python -c "from transformers import AutoTokenizer as A; '
    'A.from_pretrained({folder!r}).save_pretrained({folder!r})"'
)
"""Writes `tokenizer.json` wherever transformers can read the checkpoint's tokenizer."""
SENTENCEPIECE = "tokenizer.model"


def check_tokenizer_is_there(files: TextFiles) -> None:
    """Check that there is a tokenizer, of either kind.

    Raises:
        CheckpointError: there is none.
    """
    if files.has(TOKENIZER_FILE) or (files.has(VOCAB_FILE) and files.has(MERGES_FILE)):
        return
    if (files.folder / SENTENCEPIECE).is_file():
        raise CheckpointError(
            f"{TOKENIZER_FILE} is missing, and {SENTENCEPIECE} is not read",
            where=files.folder,
            fix=FIX.format(folder=str(files.folder)),
        )
    raise CheckpointError(
        f"{TOKENIZER_FILE} is missing",
        where=files.folder,
        fix=f"copy {TOKENIZER_FILE} and tokenizer_config.json from the original model",
    )


def slow_tokenizer(
    files: TextFiles, settings: Mapping[str, Any], chosen: TokenizerClass
) -> dict[str, Any]:
    """The content of a `tokenizer.json`, without added tokens.

    Raises:
        CheckpointError: the files are missing or malformed, or of another class of tokenizer.
    """
    check_tokenizer_is_there(files)
    if chosen.name != QWEN2:
        named = settings.get("tokenizer_class", "unknown")
        raise CheckpointError(
            f"{TOKENIZER_FILE} is missing, and only a {QWEN2} is made of {VOCAB_FILE} and "
            f"{MERGES_FILE}; the tokenizer's class is {named}",
            where=files.folder,
            fix=f"copy {TOKENIZER_FILE} from the original model, or, if that is a Qwen, set "
            f'"tokenizer_class": "{QWEN2}" in {TOKENIZER_CONFIG_FILE}',
        )
    model = {"vocab": files.json(VOCAB_FILE), "merges": _merges(files)}
    around: dict[str, Any] = dict.fromkeys(("truncation", "padding", "post_processor"))
    return {"version": "1.0", **around, "added_tokens": [], **qwen2_steps(model, settings)}


def _merges(files: TextFiles) -> list[list[str]]:
    """Pairs of tokens in the order of the file.

    Raises:
        CheckpointError: a line is no pair.
    """
    pairs = [line.split(" ") for line in merge_lines(files)]
    for number, pair in enumerate(pairs):
        if len(pair) != 2:
            raise CheckpointError(
                f"the merge {' '.join(pair)!r}, number {number}, is no pair of tokens",
                where=files.where(MERGES_FILE),
                fix=f"copy {VOCAB_FILE} and {MERGES_FILE} from the original model",
            )
    return pairs


def merge_lines(files: TextFiles) -> list[str]:
    """Lines of `merges.txt` without its header; the tokenizers library reads it the same way."""
    lines = files.text(MERGES_FILE).split("\n")
    lines = lines if lines[-1] else lines[:-1]
    return [line for line in lines if not line.startswith("#version")]


def around_text(
    settings: Mapping[str, Any], special: SpecialTokens, ids: Mapping[str, int]
) -> dict[str, Any] | None:
    """The post-processor that `add_bos_token` and `add_eos_token` ask for; None for neither.

    transformers heeds them only where there is no `tokenizer.json`.
    """
    begin = special.named.get("bos_token") if settings.get("add_bos_token") else None
    end = special.named.get("eos_token") if settings.get("add_eos_token") else None
    used = [token for token in (begin, end) if token is not None]
    if not used:
        return None

    def one(sequence: str, type_id: int) -> list[dict[str, Any]]:
        text = {"Sequence": {"id": sequence, "type_id": type_id}}

        def around(token: str | None) -> list[dict[str, Any]]:
            return [{"SpecialToken": {"id": token, "type_id": type_id}}] if token else []

        return [*around(begin), text, *around(end)]

    return {
        "type": "TemplateProcessing",
        "single": one("A", 0),
        "pair": [*one("A", 0), *one("B", 1)],
        "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in used},
    }
