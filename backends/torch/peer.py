"""transformers by itself, which bundles of the format `safetensors` are compared with.

It restores quantized weights to floats when it loads them (compressed-tensors' `decompress`), so it
computes, and takes memory, as with an unquantized checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdeploy.backends.torch import runtime
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Peer, PeerRun

CONFIG = "config.json"


def load(folder: Path, device: str, threads: int | None) -> PeerRun:
    """Return `generate` of `AutoModelForCausalLM`, in the bundle's own type, with defaults.

    It decodes greedily to the requested length. A minimum length suppresses the end token.

    Raises:
        GenerationFailed: weights of the bundle were not taken. transformers says so in a report and
            goes on with random ones, as it does for experts in codes.
    """
    torch = runtime.load()
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype="auto",
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    wrong = {what: keys for what, keys in report.items() if keys and what.endswith("_keys")}
    if wrong:
        listed = "; ".join(
            f"{what.replace('_', ' ')}: {_some(keys)}" for what, keys in wrong.items()
        )
        raise GenerationFailed(
            f"transformers does not load these weights ({listed})",
            where=folder,
            fix="leave out --peer",
        )
    model = model.eval().to(device)

    class Clock:
        """A streamer: the first call has the prompt, each other one a token."""

        def __init__(self) -> None:
            self.stamps: list[float] = []

        def put(self, tokens: Any) -> None:
            self.stamps.append(time.perf_counter())

        def end(self) -> None:
            pass

    def generate(ids: Sequence[int], new: int) -> tuple[float, Sequence[float]]:
        config = GenerationConfig(do_sample=False, min_new_tokens=new, max_new_tokens=new)
        tokens, clock = torch.tensor([ids], device=device), Clock()
        start = time.perf_counter()
        model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=config,
            streamer=clock,
        )
        return start, clock.stamps[1:]

    return generate


def _some(keys: Any) -> str:
    """The first of some names, and how many more there are."""
    first, *others = sorted(str(key) for key in keys)
    return f"{first} and {len(others)} more" if others else first


PEER = Peer("transformers", "transformers", CONFIG, load)
