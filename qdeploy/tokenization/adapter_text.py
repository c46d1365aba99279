"""The tokenizer and the chat template that an adapter brings.

People who fine-tune save both beside the adapter, and load them from there: the model learned that
form of prompt. So what an adapter's folder holds comes before what the model's holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.text_files import (
    MERGES_FILE,
    MODEL_FILES,
    TOKENIZER_FILE,
    TOKENIZER_FILES,
    VOCAB_FILE,
    TextFiles,
    find_text_files,
)
from qdeploy.tokenization.tokenizer_file import read_tokenizer

PROMPTING = ("bos_token", "eos_token")
"""Named tokens that change prompts and answers; what pads a batch in training does not."""
STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens")


def with_adapter_text(own: TextFiles, folder: Path) -> TextFiles:
    """A model's textual files, with those of the adapter in *folder* in place of its own.

    Tokenizer and chat template are each taken whole, from the adapter or from the model.

    Raises:
        CheckpointError: a chat template is not text.
    """
    theirs = find_text_files(folder)
    brings = theirs.has(TOKENIZER_FILE) or (theirs.has(VOCAB_FILE) and theirs.has(MERGES_FILE))
    tokens = theirs if brings else own
    prompts = theirs if find_chat_template(theirs) is not None else own
    paths = {name: path for name, path in own.paths.items() if name in MODEL_FILES}
    paths |= {name: path for name, path in tokens.paths.items() if name in TOKENIZER_FILES}
    apart = (*MODEL_FILES, *TOKENIZER_FILES)
    paths |= {name: path for name, path in prompts.paths.items() if name not in apart}
    inherited = find_chat_template(prompts) if prompts is not tokens else None
    return TextFiles(own.folder, paths, inherited)


def adapter_text_warnings(own: TextFiles, used: TextFiles) -> Iterator[str]:
    """Warnings where a model with its adapter, *used*, reads or prompts otherwise than alone.

    Raises:
        CheckpointError: a file is malformed.
    """
    if own.where(TOKENIZER_FILE) != used.where(TOKENIZER_FILE):
        mine, theirs = _fingerprint(own), _fingerprint(used)
        if other := [part for part in mine if mine[part] != theirs[part]]:
            yield (
                f"the adapter's tokenizer differs from the model's in {', '.join(other)}: the "
                "adapter's is used; remove the tokenizer's files from the adapter's folder to use "
                "the model's"
            )
    if find_chat_template(own) != find_chat_template(used):
        yield (
            "the adapter's chat template differs from the model's: the adapter's is used; remove "
            "it from the adapter's folder to use the model's"
        )


def _fingerprint(files: TextFiles) -> dict[str, str]:
    """A hash of each part of a tokenizer, so that one tokenizer at a time is in memory."""
    described = read_tokenizer(files)
    content, named = described.content, described.settings.special.named
    model = dict(content["model"])
    merges = [m.split(" ") if isinstance(m, str) else m for m in model.pop("merges", [])]
    parts = {
        "vocabulary": model.pop("vocab"),
        "merges": merges,
        "model": {key: value for key, value in model.items() if value},
        **{step.replace("_", " "): content.get(step) for step in STEPS},
        **{name: named.get(name) for name in PROMPTING},
    }
    return {name: _hash(part) for name, part in parts.items()}


def _hash(part: object) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
