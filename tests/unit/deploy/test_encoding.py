"""Loaded models that embed or rerank: prompts, batches, dimensions, truncation, scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qdeploy
from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.deploy.loaded_models.embedding import Embedder
from qdeploy.deploy.loaded_models.encoder import EncoderModel
from qdeploy.deploy.loaded_models.reranking import Reranker, probabilities
from qdeploy.deploy.refusals import check_task
from qdeploy.deploy.run import Choice
from qdeploy.errors import InputError, PromptError
from qdeploy.interface import Device
from qdeploy.targets import CPU
from tests.support.checkpoints import write_checkpoint
from tests.support.encoding import QUERY, write_embedding, write_reranker
from tests.support.scripted import ScriptedSession
from tests.support.scripted_encoder import WIDTH, ScriptedEncoder

END = "<|endoftext|>"
CONTEXT = 100


def bundle_of(write: Callable[[Path], Path], place: Path) -> qdeploy.Bundle:
    folder = write(place / "model")
    profile = "cpu-int4-openvino"  # it is written without a runtime
    return qdeploy.export(folder, target="cpu", profile=profile, output=place / "bundle")


@pytest.fixture(scope="module")
def embedding_bundle(tmp_path_factory: pytest.TempPathFactory) -> qdeploy.Bundle:
    return bundle_of(write_embedding, tmp_path_factory.mktemp("embedding"))


@pytest.fixture(scope="module")
def reranker_bundle(tmp_path_factory: pytest.TempPathFactory) -> qdeploy.Bundle:
    return bundle_of(write_reranker, tmp_path_factory.mktemp("reranker"))


def choice() -> Choice:
    return Choice(CPU, None, Device("SCRIPT", "a script", CPU.name))  # type: ignore[arg-type]


@pytest.fixture
def encoder() -> ScriptedEncoder:
    return ScriptedEncoder(context=CONTEXT)


@pytest.fixture
def embedder(embedding_bundle: qdeploy.Bundle, encoder: ScriptedEncoder) -> Embedder:
    return Embedder(embedding_bundle, choice(), encoder)


@pytest.fixture
def reranker(reranker_bundle: qdeploy.Bundle, encoder: ScriptedEncoder) -> Reranker:
    return Reranker(reranker_bundle, choice(), ScriptedEncoder(context=1000))


def seen(model: EncoderModel, encoder: ScriptedEncoder) -> list[str]:
    """The texts of all passes, in their order, each with the token at its end."""
    texts, end = [], model.tokenizer.id_of(END)
    for batch, masks in encoder.passes:
        for ids, mask in zip(batch, masks, strict=True):
            *inner, last = ids[: mask.sum()].tolist()
            assert last == end
            texts.append(f"{model.tokenizer.decode(inner)}{END}")
    return texts


class TestEmbed:
    def test_a_text_ends_with_what_the_tokenizer_adds(
        self, embedder: Embedder, encoder: ScriptedEncoder
    ) -> None:
        assert embedder.embed("Hello").shape == (1, WIDTH)
        assert seen(embedder, encoder) == [f"Hello{END}"]

    @pytest.mark.parametrize(
        ("options", "before"),
        [
            ({"prompt_name": "query"}, QUERY),
            ({"prompt_name": "document"}, ""),
            ({"prompt": "Code: "}, "Code: "),
        ],
    )
    def test_a_prompt_comes_before_every_text(
        self,
        options: dict[str, Any],
        before: str,
        embedder: Embedder,
        encoder: ScriptedEncoder,
    ) -> None:
        embedder.embed(["one", "another"], **options)
        assert sorted(seen(embedder, encoder)) == [f"{before}another{END}", f"{before}one{END}"]

    def test_the_vectors_are_in_the_order_of_the_texts(
        self, embedder: Embedder, encoder: ScriptedEncoder
    ) -> None:
        texts = ["a b c d", "a", "a b c d e f", "a b"]
        counts = [len(embedder.tokenizer.encode(text, special=True)) for text in texts]
        assert embedder.embed(texts, batch_size=2)[:, 2].tolist() == counts
        assert [len(ids) for ids, _ in encoder.passes] == [2, 2]
        lengths = [ids.shape[1] for ids, _ in encoder.passes]
        assert lengths == sorted(lengths, reverse=True)

    def test_no_texts_are_no_vectors(self, embedder: Embedder) -> None:
        assert embedder.embed([]).shape == (0, WIDTH)

    def test_fewer_dimensions_have_length_one_again(self, embedder: Embedder) -> None:
        whole, short = embedder.embed("Hello"), embedder.embed("Hello", dimensions=2)
        assert np.allclose(short, whole[:, :2] / np.linalg.norm(whole[:, :2]))

    def test_a_text_that_is_too_long_is_refused_or_cut_before_its_end(
        self, embedder: Embedder, encoder: ScriptedEncoder
    ) -> None:
        with pytest.raises(PromptError, match=rf"tokens, 1 of them around it.*{CONTEXT}") as caught:
            embedder.embed("a " * 300)
        assert "--truncate" in str(caught.value.fix)
        embedder.embed("a " * 300, truncate=True)
        [text] = seen(embedder, encoder)
        assert text.startswith("a a a")
        assert encoder.passes[0][0].shape == (1, CONTEXT)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"prompt_name": "quory"}, "no prompt 'quory'"),
            ({"prompt_name": "query", "prompt": "x"}, "give one of them"),
            ({"dimensions": 0}, "0 dimensions of 4"),
            ({"dimensions": 5}, "5 dimensions of 4"),
            ({"batch_size": 0}, "a batch of 0"),
        ],
    )
    def test_other_options_are_refused(
        self, options: dict[str, Any], says: str, embedder: Embedder
    ) -> None:
        with pytest.raises(InputError, match=says):
            embedder.embed("Hello", **options)

    def test_an_unknown_option_is_a_type_error(self, embedder: Embedder) -> None:
        with pytest.raises(TypeError, match="unexpected options: dimension"):
            embedder.embed("Hello", dimension=2)  # type: ignore[call-arg]


class TestRerank:
    def test_scores_are_in_the_order_of_the_documents(self, reranker: Reranker) -> None:
        ranked = reranker.rerank("What?", ["one", "another one", "a third"])
        assert [r.index for r in ranked] == [0, 1, 2]
        assert all(0 <= r.score <= 1 for r in ranked)

    def test_the_best_come_first_where_some_are_asked_for(self, reranker: Reranker) -> None:
        documents = ["one", "another one", "a third"]
        every = reranker.rerank("What?", documents)
        best = reranker.rerank("What?", documents, top_n=2)
        assert best == sorted(every, key=lambda r: -r.score)[:2]

    def test_a_document_is_cut_before_the_end_of_the_prompt(self, reranker: Reranker) -> None:
        with pytest.raises(PromptError, match="the model takes 1000"):
            reranker.rerank("What?", ["a " * 3000])
        [ranked] = reranker.rerank("What?", ["a " * 3000], truncate=True)
        assert ranked.tokens == 1000

    @pytest.mark.parametrize("top_n", [0, -1])
    def test_no_documents_cannot_be_the_best(self, top_n: int, reranker: Reranker) -> None:
        with pytest.raises(InputError, match="give 1 or more"):
            reranker.rerank("What?", ["one"], top_n=top_n)

    @pytest.mark.parametrize(
        ("logits", "wanted"),
        [
            ([0.0, 0.0], 0.5),
            ([1.0, 3.0], 1 / (1 + np.exp(-2))),
            ([1000.0, -1000.0], 0.0),
            ([-1000.0, 1000.0], 1.0),
            ([2.0], 1 / (1 + np.exp(-2))),
            ([-1000.0], 0.0),
        ],
    )
    def test_probabilities(self, logits: list[float], wanted: float) -> None:
        [found] = probabilities(np.array([logits], np.float32))
        assert found == pytest.approx(wanted, abs=1e-6)


class TestOtherTasks:
    def test_what_a_model_is_not_for_names_what_it_is_for(
        self, embedder: Embedder, reranker: Reranker
    ) -> None:
        calls: tuple[tuple[Callable[[], object], str], ...] = (
            (lambda: embedder.chat("Hello"), "call embed"),
            (lambda: embedder.stream("Hello"), "call embed"),
            (lambda: embedder.score([1]), "call embed"),
            (lambda: embedder.rerank("What?", ["this"]), "call embed"),
            (lambda: reranker.embed("Hello"), "call rerank"),
        )
        for call, fix in calls:
            with pytest.raises(InputError, match=fix):
                call()

    def test_a_model_that_generates_embeds_nothing(self, tmp_path: Path) -> None:
        bundle = bundle_of(write_checkpoint, tmp_path)
        model = ChatModel(bundle, choice(), ScriptedSession())
        with pytest.raises(InputError, match="the model is to generate, and does not embed"):
            model.embed("Hello")

    def test_a_command_for_another_task_names_the_right_one(
        self, embedding_bundle: qdeploy.Bundle
    ) -> None:
        check_task(embedding_bundle, "embed")
        with pytest.raises(InputError, match="the model is to embed, not to generate") as caught:
            check_task(embedding_bundle, "generate")
        assert caught.value.fix == f"qdeploy embed {embedding_bundle.path}"
