"""What the parts of one answer have in common, and their count of tokens."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.serving.made import Made


@dataclass(frozen=True)
class Frame:
    """The beginning of every part of an answer.

    Attributes:
        seed: of its first choice; the same one gives the same answer on the same machine.
    """

    id: str
    created: int
    model: str
    fingerprint: str
    seed: int

    def whole(self, kind: str, **content: Any) -> dict[str, Any]:
        """A part of a *kind*, such as `chat.completion`."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "seed": self.seed,
            **content,
        }


def frame(model: ChatModel, name: str, prefix: str, seed: int) -> Frame:
    """Begin an answer, with an id of its own."""
    own_id = f"{prefix}-{secrets.token_hex(16)}"
    return Frame(own_id, int(time.time()), name, fingerprint(model), seed)


def fingerprint(model: ChatModel) -> str:
    """A short name of all that decides which tokens a seed gives: bundle, backend and device."""
    parts = (model.bundle.digest, model.backend, model.choice.device_names)
    return "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def usage(prompts: Sequence[int], answers: Sequence[Made]) -> dict[str, Any]:
    """Tokens of prompts, each counted once, and of all answers to them, thinking included."""
    prompt, new = sum(prompts), sum(len(answer.tokens) for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
    }
