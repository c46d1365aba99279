"""Answers that the core generates from scripted sessions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from qdeploy import models
from qdeploy.generation.generate import Generation
from qdeploy.generation.pieces import Piece
from qdeploy.generation.reasoning import early_stop
from qdeploy.generation.settings import Settings
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.scripted import ScriptedSession

NANO = Tokenizer(models.path("qwen3-nano"))
STOP = NANO.encode("<|im_end|>")
QUESTION = [{"role": "user", "content": "2 + 2?"}]
PROMPT = len(NANO.encode(NANO.render(QUESTION)))
THOUGHT = "<think>\nTwo and two.\n</think>\n\n4"
EARLY_STOP = early_stop(NANO)
EARLY_STOP_SHOWN = EARLY_STOP.removesuffix("</think>\n\n").strip("\n")


def script(text: str) -> list[int]:
    """Return the tokens of *text*, then the stop token."""
    return NANO.encode(text) + STOP


def answer(
    session: ScriptedSession, *, tokenizer: Tokenizer = NANO, **settings: Any
) -> tuple[Generation, list[Piece]]:
    """Generate to the end; return the generation and all of its pieces."""
    generation = Generation(session, tokenizer, QUESTION, Settings(**settings))
    return generation, list(generation)


def joined(pieces: list[Piece], channel: str) -> str:
    return "".join(p.text for p in pieces if p.channel == channel)


def always_thinking(folder: Path) -> Tokenizer:
    shutil.copytree(NANO.folder, folder, dirs_exist_ok=True)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}<think>\n")
    return Tokenizer(folder)


def thoughts(count: int) -> list[int]:
    return NANO.encode("<think>") + NANO.encode("1") * count
