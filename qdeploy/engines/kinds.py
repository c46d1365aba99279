"""Kinds of servers that speak OpenAI's API: how each names itself, and what its chats understand.

Servers of one API differ in the fields that they know, and most ignore those that they do not know.
What a row does not list is therefore not sent, and refused where a user asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OPENAI = {
    "max_new_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "stop": "stop",
}
"""Fields of every server, by the option of qdeploy's that each is for."""
RANKED = OPENAI | {"top_k": "top_k", "repetition_penalty": "repetition_penalty"}
COMMON = RANKED | {"min_p": "min_p"}


@dataclass(frozen=True)
class Kind:
    """A kind of server. None of these but vLLM and qdeploy itself was run against this table.

    Attributes:
        name: for people.
        owner: `owned_by` in its list of models, by which it is recognized.
        source: where that and the fields are documented.
        fields: names of fields in chats, by the option of qdeploy's that each is for.
        thinks: whether chats take `chat_template_kwargs`, which hold Qwen3's thinking switch.
        about: the page at the root that tells its version.
        constrains: whether requests by token ids may have a JSON schema.
    """

    name: str
    owner: str | None
    source: str
    fields: Mapping[str, str]
    thinks: bool = True
    about: str | None = None
    constrains: bool = False


QDEPLOY = Kind(
    "qdeploy",
    "qdeploy",
    "qdeploy/serving",
    COMMON | {"thinking_budget": "thinking_budget"},
    about="/v1/qdeploy",
)
KINDS = (
    QDEPLOY,
    Kind(
        "vLLM",
        "vllm",
        "vllm/entrypoints/openai/chat_completion/protocol.py, 0.32.0",
        COMMON | {"thinking_budget": "thinking_token_budget"},
        about="/version",
        constrains=True,
    ),
    Kind("SGLang", "sglang", "sglang/srt/entrypoints/openai/protocol.py", COMMON),
    Kind(
        "llama-server",
        "llamacpp",
        "llama.cpp, tools/server/README.md",
        COMMON | {"repetition_penalty": "repeat_penalty"},
    ),
    Kind(
        "Ollama",
        "library",
        "docs.ollama.com/api/openai-compatibility; openai/openai.go",
        OPENAI,
        thinks=False,
        about="/api/version",
    ),
    Kind(  # it takes min_p since 2026.2, and does not tell its version
        "OpenVINO Model Server",
        "OVMS",
        "model_server 2026.3, docs/model_server_rest_api_chat.md, src/http_rest_api_handler.cpp",
        RANKED,
    ),
    Kind(  # of its two APIs at one address, this is the default: "openAiSupport": "vllm"
        "MindIE",
        "MindIE Server",
        "MindIE-LLM 3.0.0, src/server/endpoint/single_req_infer_interface/"
        "single_req_vllm_openai_infer_interface.cpp, parse_protocol.cpp",
        RANKED,
    ),
)
OTHER = Kind("an unknown server", None, "OpenAI's API", OPENAI, thinks=False)
