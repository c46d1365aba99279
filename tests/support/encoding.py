"""Tiny embedding and reranking models, as sentence-transformers and the hub have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import tiny
from tests.support.native import FLOAT, PROFILE
from tests.support.tiny import DENSE

QUERY = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
"""The prompt of Qwen3-Embedding's queries."""
LABELS = (500, 700)
TEXTS = (
    "What is the capital of China?",
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to objects.",
    "北京是中国的首都。",
)


def write_embedding(
    folder: Path, config: Mapping[str, Any] = DENSE, *, normalize: bool = True, seed: int = 0
) -> Path:
    """Write a checkpoint with Qwen3-Embedding's files and tokenizer, and return its folder."""
    tiny.write(folder, config, seed)
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    _write(folder / "modules.json", modules)
    pooling = {"word_embedding_dimension": config["hidden_size"], "pooling_mode_cls_token": False,
               "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}  # fmt: skip
    (folder / "1_Pooling").mkdir()
    _write(folder / "1_Pooling" / "config.json", pooling)
    settings = {"prompts": {"query": QUERY, "document": ""}, "default_prompt_name": None}
    _write(folder / "config_sentence_transformers.json", settings)
    append_end_of_text(folder)
    return folder


def write_reranker(folder: Path, config: Mapping[str, Any] = DENSE, *, seed: int = 0) -> Path:
    """Write a checkpoint whose answers no and yes are compared, as sentence-transformers says it.

    The token ids of both are `LABELS`.
    """
    tiny.write(folder, config, seed)
    modules = [
        {"path": "", "type": "sentence_transformers.base.modules.Transformer"},
        {"path": "1_LogitScore", "type": "sentence_transformers.cross_encoder.modules.LogitScore"},
    ]
    _write(folder / "modules.json", modules)
    (folder / "1_LogitScore").mkdir()
    no, yes = LABELS
    scored = {"true_token_id": yes, "false_token_id": no, "module_input_name": "causal_logits"}
    _write(folder / "1_LogitScore" / "config.json", scored)
    return folder


def write_classifier(folder: Path, config: Mapping[str, Any] = DENSE, *, seed: int = 0) -> Path:
    """Write a sequence classifier of one label."""
    name = config["architectures"][0].replace("ForCausalLM", "ForSequenceClassification")
    changed = {
        **config,
        "architectures": [name],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "pad_token_id": 0,
    }
    extra = {"score.weight": (1, config["hidden_size"])}
    return tiny.write(folder, changed, seed, extra)


def float_profile(file: Path, format: str) -> Path:
    """Write a profile for the target cpu that stores floats."""
    text = PROFILE.format(
        target="cpu", format=format, linear=FLOAT, embedding=FLOAT, head=FLOAT, graph=""
    )
    file.write_text(text, encoding="utf-8")
    return file


def append_end_of_text(folder: Path) -> None:
    """Let the tokenizer end texts with `<|endoftext|>`, as Qwen3-Embedding's does."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    end = "<|endoftext|>"
    number = next(t["id"] for t in content["added_tokens"] if t["content"] == end)
    text = {"Sequence": {"id": "A", "type_id": 0}}
    content["post_processor"] = {
        "type": "Sequence",
        "processors": [
            content["post_processor"],
            {
                "type": "TemplateProcessing",
                "single": [text, {"SpecialToken": {"id": end, "type_id": 0}}],
                "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {end: {"id": end, "ids": [number], "tokens": [end]}},
            },
        ],
    }
    _write(file, content)


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")
