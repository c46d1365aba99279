"""openvino-genai loads and runs an export, with paged attention and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.support import forward, tiny
from tests.support.native import export, resolve
from tests.support.running import EXACT
from tests.support.tiny import DENSE, SPARSE

PROMPT = "你好, two and <|im_start|> three"
NEW = 6


def continued(config: dict[str, Any], ids: list[int]) -> list[int]:
    """The most likely tokens that follow."""
    weights, found = tiny.draw(config), list(ids)
    for _ in range(NEW):
        found.append(int(np.argmax(forward.logits(config, weights.__getitem__, found)[-1])))
    return found[len(ids) :]


@pytest.mark.parametrize("attention", ["PA", "SDPA"])
@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_a_text_is_continued(
    config: dict[str, Any], attention: str, made: Callable[..., Path], tmp_path: Path
) -> None:
    genai = pytest.importorskip("openvino_genai")
    source = made(config)
    folder = export(resolve(source), tmp_path / "bundle")
    pipeline = genai.LLMPipeline(str(folder), "CPU", ATTENTION_BACKEND=attention, **EXACT)
    settings = genai.GenerationConfig(max_new_tokens=NEW, ignore_eos=True)
    settings.apply_chat_template = False
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    wanted = tokenizer.decode(continued(config, tokenizer.encode(PROMPT).ids))
    assert pipeline.generate(PROMPT, settings) == wanted
