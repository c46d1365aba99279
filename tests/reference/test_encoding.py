"""Embeddings and scores of bundles against transformers, from text to vector."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qdeploy
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.forward.forward import Forward
from tests.support.encoding import (
    LABELS,
    QUERY,
    TEXTS,
    float_profile,
    write_classifier,
    write_embedding,
    write_reranker,
)
from tests.support.tiny import DENSE, SPARSE

torch = pytest.importorskip("torch", reason="needs qdeploy[optimum]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[optimum]")

COSINE = 0.99999
SCORE = 1e-5
"""Largest difference of a score from 0 to 1."""
FORMATS = ("openvino", "onnx")
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


@pytest.fixture(params=FORMATS)
def bundle_format(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def load(folder: Path, bundle_format: str, place: Path) -> qdeploy.Model:
    profile = float_profile(place / "float.toml", bundle_format)
    bundle = qdeploy.export(folder, target="cpu", profile=profile, output=place / "bundle")
    exact = {"INFERENCE_PRECISION_HINT": "f32"} if bundle_format == "openvino" else None
    return qdeploy.load(bundle, properties=exact)


def pool(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """Qwen3-Embedding's model card, "Transformers Usage"."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        last = model(**batch).last_hidden_state[:, -1]
    found: NDArray[np.float32] = torch.nn.functional.normalize(last, p=2, dim=1).numpy()
    return found


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_embeddings(config: dict[str, Any], bundle_format: str, tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "it", config)
    with load(folder, bundle_format, tmp_path) as model:
        documents = model.embed(TEXTS, batch_size=3)
        queries = model.embed(TEXTS, prompt_name="query")
    for got, texts in ((documents, [*TEXTS]), (queries, [QUERY + text for text in TEXTS])):
        cosines = (got * pool(folder, texts)).sum(axis=1)
        assert cosines.min() > COSINE


def test_token_ids(tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "it")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with load(folder, "onnx", tmp_path) as model:
        for text in (*TEXTS, "", " a  b\n", "<|im_end|> x"):
            assert model.tokenizer.encode(text, special=True) == tokenizer(text)["input_ids"]


def pairs() -> Iterator[str]:
    for document in TEXTS[1:]:
        yield f"<Instruct>: {INSTRUCTION}\n<Query>: {TEXTS[0]}\n<Document>: {document}"


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_scores_of_two_answers(tied: bool, bundle_format: str, tmp_path: Path) -> None:
    """Qwen3-Reranker's model card, "Transformers Usage"."""
    folder = write_reranker(tmp_path / "it", DENSE | {"tie_word_embeddings": tied})
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prefix, suffix = (tokenizer.encode(t, add_special_tokens=False) for t in (PREFIX, SUFFIX))
    inputs = tokenizer([*pairs()], padding=False, return_attention_mask=False)
    inputs["input_ids"] = [prefix + ids + suffix for ids in inputs["input_ids"]]
    with torch.inference_mode():
        logits = model(**tokenizer.pad(inputs, padding=True, return_tensors="pt")).logits[:, -1]
    wanted = torch.nn.functional.softmax(logits[:, list(LABELS)], dim=1)[:, 1].numpy()
    with load(folder, bundle_format, tmp_path) as loaded:
        ranked = loaded.rerank(TEXTS[0], TEXTS[1:], batch_size=2)
    assert np.abs(np.array([r.score for r in ranked]) - wanted).max() < SCORE


def test_the_score_of_a_classifier(bundle_format: str, tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "it")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    auto = transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    assert model.config.num_labels == 1
    wanted = []
    for pair in pairs():
        batch = tokenizer(PREFIX + pair + SUFFIX, return_tensors="pt")
        with torch.inference_mode():
            wanted.append(torch.sigmoid(model(**batch).logits[0, 0]).item())
    with load(folder, bundle_format, tmp_path) as loaded:
        ranked = loaded.rerank(TEXTS[0], TEXTS[1:], top_n=3)
    assert [r.score for r in ranked] == sorted((r.score for r in ranked), reverse=True)
    for r in ranked:
        assert abs(r.score - wanted[r.index]) < SCORE


SEQUENCES = ([5, 6, 7, 8, 9], [100, 200, 300])
ADAPTED = ["q_proj", "down_proj"]


def adapted(model: Any, place: Path, targets: list[str], task_type: str) -> Any:
    """Add a random LoRA adapter to *model*, and save it to *place*."""
    peft = pytest.importorskip("peft", reason="needs qdeploy[parity]")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type=task_type)
    found = peft.get_peft_model(model, config)
    for name, values in found.named_parameters():
        if "lora_B" in name or "score" in name:
            torch.nn.init.normal_(values, std=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a head among the targets is saved, too
        found.save_pretrained(place)
    return found.eval()


def own(folder: Path, adapter: Path) -> NDArray[np.float32]:
    found = read_checkpoint(folder, adapter=adapter)
    with open_weights(found) as weights:
        forward = Forward(weights, found.architecture, found.graph(None))
        return forward.encode(SEQUENCES, lambda done, total: None)


def test_an_adapter_of_an_embedding_model(tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "it")
    base = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    model = adapted(base, tmp_path / "adapter", ADAPTED, "FEATURE_EXTRACTION")
    with torch.inference_mode():
        states = [model(torch.tensor([ids])).last_hidden_state[0, -1] for ids in SEQUENCES]
        wanted = torch.nn.functional.normalize(torch.stack(states), dim=1).numpy()
    assert np.abs(own(folder, tmp_path / "adapter") - wanted).max() < SCORE


def test_an_adapter_of_the_head_changes_the_answers(tmp_path: Path) -> None:
    folder = write_reranker(tmp_path / "it", DENSE | {"tie_word_embeddings": False})
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = adapted(base, tmp_path / "adapter", [*ADAPTED, "lm_head"], "CAUSAL_LM")
    with torch.inference_mode():
        logits = [model(torch.tensor([ids])).logits[0, -1] for ids in SEQUENCES]
    wanted = torch.stack(logits)[:, list(LABELS)].numpy()
    assert np.abs(own(folder, tmp_path / "adapter") - wanted).max() < SCORE


def test_an_adapter_of_a_classifier(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "it")
    auto = transformers.AutoModelForSequenceClassification
    base = auto.from_pretrained(folder, dtype=torch.float32)
    model = adapted(base, tmp_path / "adapter", ADAPTED, "SEQ_CLS")
    with torch.inference_mode():
        wanted = torch.stack([model(torch.tensor([ids])).logits[0] for ids in SEQUENCES]).numpy()
    assert np.abs(own(folder, tmp_path / "adapter") - wanted).max() < SCORE
