"""An endless stream of padded training batches of nearly equal length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tools.nano.heldout import training_samples
from tools.nano.render import Rendered, render

# Samples sorted by length at a time: large enough that a batch's rows differ by few tokens.
_POOL = 4096
IGNORED = -100  # label of a position without loss


def batches(
    tokenizer: Tokenizer, name: str, seed: int, tokens: int, even: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (input ids [B, T], labels [B, T]) with at most `tokens` positions, padding included.

    Labels are already shifted: the label at t is the id at t + 1. Rows are padded on the right;
    attention is causal, so no mask is needed.
    """
    rng = Random(seed)
    source = training_samples(rng, even)
    while True:
        pool = render(tokenizer, list(islice(source, _POOL)), name, rng)
        pool.sort(key=lambda item: len(item.ids))
        groups: list[list[Rendered]] = [[]]
        for item in pool:
            if (len(groups[-1]) + 1) * len(item.ids) > tokens:
                groups.append([])
            groups[-1].append(item)
        rng.shuffle(groups)
        yield from map(_pad, groups)


def _pad(group: list[Rendered]) -> tuple[Tensor, Tensor]:
    longest = max(len(item.ids) for item in group) - 1
    ids = torch.zeros(len(group), longest, dtype=torch.long)
    labels = torch.full((len(group), longest), IGNORED)
    for row, item in enumerate(group):
        length = len(item.ids) - 1
        ids[row, :length] = torch.tensor(item.ids[:-1])
        target = torch.tensor(item.ids[1:])
        target[~torch.tensor(item.trained[1:])] = IGNORED
        labels[row, :length] = target
    return ids, labels
