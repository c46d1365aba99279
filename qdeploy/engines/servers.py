"""What a server says of itself when it is asked: its kind, its models, where it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdeploy.engines.client import EngineClient
from qdeploy.engines.kinds import KINDS, OTHER, QDEPLOY, Kind
from qdeploy.engines.served_model import ServedModel
from qdeploy.errors import InputError
from qdeploy.targets import Evidence


@dataclass(frozen=True)
class Server:
    """What a server says of itself.

    Attributes:
        kind: OTHER where it does not name itself.
        version: None where it does not tell.
        model: the model that requests name.
        hardware: the device that it says it computes on; None where it does not tell.
        evidence: that of `hardware`, by the server's word; `none` without it.
        proof: where it said so.
    """

    kind: Kind
    version: str | None
    model: ServedModel
    hardware: str | None
    evidence: Evidence
    proof: str

    @property
    def title(self) -> str:
        """One phrase for people: `vLLM 0.32.0 with qwen3-8b, on hardware that it does not name`."""
        name = f"{self.kind.name} {self.version}" if self.version else self.kind.name
        place = self.hardware or "hardware that it does not name"
        return f"{name} with {self.model.id}, on {place}"


def ask(client: EngineClient, model: str | None = None) -> Server:
    """Ask a server what it is, and whether it has the *model*; None is the only one that it has.

    Raises:
        InputError: it has no such model, or several and none is named.
        QdeployError: it cannot be reached, or is no such server.
    """
    chosen = _choose(client, client.models(), model)
    kind = next((row for row in KINDS if row.owner == chosen.owner), OTHER)
    about = (client.optional(kind.about) if kind.about else None) or {}
    version = about.get("version")
    hardware, evidence = _claimed(about) if kind is QDEPLOY else (None, Evidence.NONE)
    return Server(
        kind,
        version if isinstance(version, str) else None,
        chosen,
        hardware,
        evidence,
        "the server's own word at "
        + (f"{client.address.root}{kind.about}" if hardware else f"{client.address.api}/models"),
    )


def _claimed(about: Mapping[str, Any]) -> tuple[str | None, Evidence]:
    """The hardware that another qdeploy proved, and how it is known there."""
    device, evidence = about.get("device"), about.get("evidence")
    known = [e for e in Evidence if str(e) == evidence]
    return (device, known[0]) if isinstance(device, str) and known else (None, Evidence.NONE)


def _choose(client: EngineClient, models: tuple[ServedModel, ...], name: str | None) -> ServedModel:
    where = f"{client.address.api}/models"
    listed = ", ".join(model.id for model in models)
    if name is None and len(models) == 1:
        return models[0]
    if not models:
        raise InputError("the server has no model", where=where, fix="load one there")
    if name is None:
        raise InputError(
            f"the server has {len(models)} models",
            where=where,
            fix=f"name one with --endpoint-model: {listed}",
        )
    found = next((model for model in models if model.id == name), None)
    if found is None:
        raise InputError(
            f"the server has no model {name!r}",
            where=where,
            fix=f"name one that it has with --endpoint-model: {listed}",
        )
    return found


@dataclass(frozen=True)
class Abilities:
    """What a server answers to requests by token ids.

    Attributes:
        logprobs: most tokens of which it tells log-probabilities at a place, of those tried.
    """

    logprobs: int | None


TRIED_LOGPROBS = 20
"""vLLM's default limit, and OpenAI's."""


def try_token_ids(client: EngineClient, server: Server) -> Abilities:
    """Ask for one token by token ids, and find out what else the server tells.

    Raises:
        InputError: it does not take token ids, or does not return them.
        QdeployError: it cannot be reached or fails.
    """
    body = {
        "model": server.model.id,
        "prompt": [0, 0],
        "max_tokens": 1,
        "temperature": 0,
        "return_token_ids": True,
    }
    told = {**body, "logprobs": TRIED_LOGPROBS, "return_tokens_as_token_ids": True}
    for request, logprobs in ((told, TRIED_LOGPROBS), (body, None)):
        try:
            answer = client.complete_whole(request)
        except InputError:
            continue
        if _has_ids(answer):
            return Abilities(logprobs)
    raise InputError(
        f"{server.kind.name} does not answer token ids with token ids",
        where=f"{client.address.api}/completions",
        fix="leave the bundle out, so that the server does the text: "
        f"qdeploy run --endpoint {client.address.api} PROMPT",
    )


def _has_ids(answer: Mapping[str, Any]) -> bool:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and isinstance(first.get("token_ids"), list)
