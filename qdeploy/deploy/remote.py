"""Chats with a server that does the text itself: without a bundle, without token ids.

The server renders the chat, and its answer comes as text. How many tokens that was, only the server
knows: figures per token are by its count, and absent where it does not count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from qdeploy.deploy.loaded_models.answers import AnswerOptions, check_options
from qdeploy.engines.chats import chat
from qdeploy.engines.chunks import Usage
from qdeploy.engines.client import EngineClient
from qdeploy.engines.faults import KEY_VARIABLE, absent_where_gone
from qdeploy.engines.servers import Server, ask
from qdeploy.errors import InputError
from qdeploy.generation.pieces import Channel, FinishReason, Piece
from qdeploy.generation.reading.spans import Span
from qdeploy.generation.reading.stop_texts import StopTexts

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from qdeploy.tokenization.tokenizer import Message

REASONS: Mapping[str, FinishReason] = {"stop": "stop", "tool_calls": "tool_calls"}
"""What servers say; anything else is that the answer was cut."""


class RemoteChat:
    """A server's model, for chats in text. A context manager that closes the connections.

    Args:
        url: the server's address, with or without `/v1`.
        model: one of its models; None is the only one. The API key, if it needs one, comes from
            the environment variable `QDEPLOY_ENDPOINT_KEY`.

    Attributes:
        server: what the server says of itself.

    Raises:
        InputError: that is no address, or the server lacks the model.
        TargetUnavailable: the server does not answer.
    """

    def __init__(self, url: str, model: str | None = None) -> None:
        self._client = EngineClient(url, api_key=os.environ.get(KEY_VARIABLE))
        try:
            with absent_where_gone():
                self.server: Server = ask(self._client, model)
        except BaseException:
            self._client.close()
            raise

    @property
    def url(self) -> str:
        """What the paths of its API are below."""
        return self._client.address.api

    def stream(self, messages: Sequence[Message], **options: Unpack[AnswerOptions]) -> RemoteAnswer:
        """Answer a chat, piece by piece as they come. Options that are None are the server's.

        Raises:
            InputError: an option that this kind of server does not know, or an empty stop text.
        """
        check_options(options, AnswerOptions)
        stop = options.get("stop")
        stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
        return RemoteAnswer(self._client, self._body(messages, options), stops)

    def _body(self, messages: Sequence[Message], options: Mapping[str, Any]) -> dict[str, Any]:
        kind = self.server.kind
        told = list(messages)
        if (system := options.get("system")) is not None:
            told = [{"role": "system", "content": system}, *told]
        body: dict[str, Any] = {"model": self.server.model.id, "messages": told}
        for option, value in options.items():
            if value is None or option in ("system", "thinking"):
                continue
            if option not in kind.fields:
                raise self._unknown(option)
            body[kind.fields[option]] = value
        if (thinking := options.get("thinking")) is not None:
            if not kind.thinks:
                raise self._unknown("think" if thinking else "no-think")
            body["chat_template_kwargs"] = {"enable_thinking": thinking}
        return body

    def _unknown(self, option: str) -> InputError:
        name = option.replace("_", "-")
        return InputError(
            f"{self.server.kind.name} has no field for --{name}, so it would be ignored",
            where=self.url,
            fix=f"leave --{name} out",
        )

    def close(self) -> None:
        """Close the connections. Answers that are being made end with an error."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemoteAnswer:
    """One answer. Iterate over it once for the pieces, then read the results.

    Args:
        client: of the server.
        body: the request.
        stops: the texts that end the content there. They are cut off here: streams of OpenVINO
            Model Server hold them, and cannot be asked to leave them out.

    Attributes:
        finish_reason: `cancelled` until the server says why it ended.
        usage: tokens by the server's count; None where it does not count.
        stamps: `perf_counter` seconds at which text came. A chunk may hold several tokens.
        start: the same for the request.
    """

    def __init__(
        self, client: EngineClient, body: Mapping[str, Any], stops: Sequence[str] = ()
    ) -> None:
        self._client, self._body = client, body
        self._stops = StopTexts(stops)
        self._texts: dict[Channel, list[str]] = {"reasoning": [], "content": []}
        self.finish_reason: FinishReason = "cancelled"
        self.usage: Usage | None = None
        self.stamps: list[float] = []
        self.start = 0.0

    def __iter__(self) -> Generator[Piece, None, None]:
        self.start = time.perf_counter()
        with closing(chat(self._client, self._body)) as deltas:
            for delta in deltas:
                self.usage = delta.usage or self.usage
                if delta.finish_reason is not None:
                    self.finish_reason = REASONS.get(delta.finish_reason, "length")
                if delta.reasoning or delta.content:
                    self.stamps.append(delta.timestamp)
                if delta.reasoning:
                    yield self._piece(delta.reasoning, "reasoning")
                if delta.content and (text := self._before_stop(delta.content)):
                    yield self._piece(text, "content")
        if rest := self._stops.flush():
            yield self._piece(rest.text, "content")

    def _before_stop(self, text: str) -> str:
        """Return what of the content is certain to come before a stop text."""
        return "" if self._stops.found is not None else self._stops.push(Span(text, 0)).text

    def _piece(self, text: str, channel: Channel) -> Piece:
        self._texts[channel].append(text)
        return Piece(text, channel)

    @property
    def text(self) -> str:
        return "".join(self._texts["content"])

    @property
    def thinking(self) -> str:
        return "".join(self._texts["reasoning"])

    @property
    def ttft_ms(self) -> float | None:
        """Time to the first text, milliseconds: to the first token, where chunks hold one."""
        return 1000 * (self.stamps[0] - self.start) if self.stamps else None

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first chunk, by the server's count; None without one.

        It takes the first chunk for one token: a chunk of several makes it a little too short.
        """
        made = self.usage.completion_tokens if self.usage else 0
        if made < 2 or len(self.stamps) < 2:
            return None
        return 1000 * (self.stamps[-1] - self.stamps[0]) / (made - 1)

    def as_dict(self, chat: RemoteChat) -> dict[str, Any]:
        """As plain data: what `qdeploy run --json` prints."""
        server, usage, tpot = chat.server, self.usage, self.tpot_ms
        return {
            "text": self.text,
            "thinking": self.thinking or None,
            "finish_reason": self.finish_reason,
            "prompt_tokens": usage.prompt_tokens if usage else None,
            "new_tokens": usage.completion_tokens if usage else None,
            "tokens_counted_by": "the server" if usage else None,
            "chunks": len(self.stamps),
            "ttft_ms": self.ttft_ms,
            "tpot_ms": tpot,
            "decode_tokens_per_s": 1000 / tpot if tpot else None,
            "target": "endpoint",
            "backend": None,
            "device": server.title,
            "evidence": str(server.evidence),
            "placement": {
                "devices": [server.title],
                "proof": f"the server's own word at {server.proof}",
            },
        }
