"""Batched text generation in torch: only for measuring, the tool has its own backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from tools.nano.configs import END_OF_TEXT, GENERATION, IM_END

_BATCH = 120
GREEDY: dict[str, Any] = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
SAMPLED: dict[str, Any] = {
    key: GENERATION[key] for key in ("do_sample", "temperature", "top_k", "top_p")
}


def complete(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    settings: dict[str, Any],
    max_new_tokens: int = 224,
) -> list[str]:
    """Return each prompt's continuation, up to and without the end-of-turn token."""
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in prompts]
    texts: list[str] = []
    # In the given order, which groups by task: rows of one batch end at about the same time.
    for start in range(0, len(encoded), _BATCH):
        part = encoded[start : start + _BATCH]
        longest = max(map(len, part))
        # Padded on the left, so that every row goes on at the same position.
        ids = torch.full((len(part), longest), END_OF_TEXT)
        mask = torch.zeros(len(part), longest, dtype=torch.long)
        for row, known in enumerate(part):
            ids[row, longest - len(known) :] = torch.tensor(known)
            mask[row, longest - len(known) :] = 1
        output = model.generate(  # works without gradients by itself
            ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            eos_token_id=[IM_END, END_OF_TEXT],
            pad_token_id=END_OF_TEXT,
            **settings,
        )
        texts += [_until_end(tokenizer, row) for row in output[:, longest:].tolist()]
    return texts


def _until_end(tokenizer: Tokenizer, ids: list[int]) -> str:
    for end in (IM_END, END_OF_TEXT):
        if end in ids:
            ids = ids[: ids.index(end)]
    text: str = tokenizer.decode(ids, skip_special_tokens=False)
    return text
