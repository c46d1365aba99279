"""Models that embed or rerank."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.support.encoding import append_end_of_text
from tests.support.zoo import base
from tests.support.zoo.case import MODEL, Case, Make

POOLING = {
    "word_embedding_dimension": 128, "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True, "include_prompt": True,
}  # fmt: skip
KINDS = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}


def _embedder(folder: Path, *, kinds: tuple[str, ...] = tuple(KINDS), **config: Any) -> Path:
    """As Qwen3-Embedding is published: no prefix, no head, modules of sentence-transformers."""
    model = base.dense(folder / MODEL, tie_word_embeddings=True, **config)
    base.rename(model, lambda name: name.removeprefix("model."))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(KINDS.items()) if path in kinds
    ]  # fmt: skip
    base.write_json(model / "modules.json", modules)
    (model / "1_Pooling").mkdir()
    base.write_json(model / "1_Pooling" / "config.json", POOLING)
    return model


def _ended(folder: Path) -> None:
    """With the tokenizer of Qwen3-Embedding, which ends every text with a token."""
    append_end_of_text(_embedder(folder))


def _classifier(**config: Any) -> Make:
    """A reranker as a sequence classifier with one score."""

    def make(folder: Path) -> None:
        import torch

        model = base.dense(folder / MODEL, **config)
        base.rename(model, lambda name: None if name == "lm_head.weight" else name)
        random = torch.Generator().manual_seed(0)
        score = torch.randn(1, 128, generator=random).to(torch.bfloat16)
        base.add(model, {"score.weight": score})
        names = {"architectures": ["Qwen3ForSequenceClassification"], "pad_token_id": 2022}
        labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        base.edit(model / "config.json", **names, **labels)

    return make


def _base_class(folder: Path) -> None:
    model = base.dense(folder / MODEL)
    base.edit(model / "config.json", architectures=["Qwen3Model"])


def _reranker(folder: Path) -> None:
    """As Qwen3-Reranker is published: a causal model whose card says what it is for."""
    model = base.dense(folder / MODEL, tie_word_embeddings=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):  # which has no token "yes"
        text = (model / name).read_text(encoding="utf-8")
        text = text.replace('"content": "</tool_response>"', '"content": "yes"')
        (model / name).write_text(text, encoding="utf-8")
    (model / "README.md").write_text("---\npipeline_tag: text-ranking\n---\n", encoding="utf-8")


CASES = (
    Case("embedding", _embedder),
    Case("embedding that is not normalized", partial(_embedder, kinds=("", "1_Pooling"))),
    Case("embedding with a token at the end", _ended),
    Case("embedding, by the class alone", _base_class,
         warns=("no modules.json says how embeddings are made",)),
    Case("reranking", _reranker),
    Case("reranking by a classifier", _classifier(),
         warns=("no file of a sequence classifier says how it was trained",)),
)  # fmt: skip
