"""What a checkpoint is for, by its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdeploy.architectures.task import GENERATE, Task
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.task import PUBLISHED, FoundTask, find_task, published_task
from qdeploy.errors import CheckpointError
from tests.support.checkpoints import SMALL, write_checkpoint
from tests.support.encoding import write_classifier, write_embedding, write_reranker

EMBED, RERANK = Task(name="embed", normalize=True), Task(name="rerank", labels=(500, 700))
CARD = "---\nlicense: apache-2.0\npipeline_tag: {}\n---\n# A model\n"


def edit(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | changes), encoding="utf-8")


def add_answers(folder: Path) -> None:
    """Give the tokenizer the tokens yes and no with the ids 1900 and 1901."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"] | {"yes": 1900, "no": 1901}
    edit(file, model=content["model"] | {"vocab": vocabulary})


@pytest.mark.parametrize(
    ("write", "task"),
    [
        (write_checkpoint, GENERATE),
        (write_embedding, EMBED),
        (lambda folder: write_embedding(folder, normalize=False), Task(name="embed")),
        (write_reranker, RERANK),
        (write_classifier, Task(name="rerank")),
    ],
)
def test_the_files_say_it(write: Callable[[Path], Path], task: Task, tmp_path: Path) -> None:
    assert read_checkpoint(write(tmp_path / "it")).task == task


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("Qwen3-Embedding-0.6B", EMBED),
        ("qwen3-reranker-8b", Task(name="rerank", labels=(1901, 1900))),
        ("Qwen3-0.6B", GENERATE),
    ],
)
def test_a_published_name_says_it(name: str, task: Task, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / name)
    add_answers(folder)
    assert read_checkpoint(folder).task == task
    assert find_task(folder, f"Qwen/{name}", SMALL) == FoundTask(task)


def test_published_tasks_need_no_files() -> None:
    assert published_task("Qwen/Qwen3-Embedding-8B") == EMBED
    assert published_task("Qwen/Qwen3-Reranker-0.6B") == Task(name="rerank", labels=(2152, 9693))
    assert published_task("Qwen/Qwen3-8B") == GENERATE


@pytest.mark.parametrize(
    ("tag", "name"), [("feature-extraction", "embed"), ("text-ranking", "rerank")]
)
def test_the_model_card_says_it(tag: str, name: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    add_answers(folder)
    (folder / "README.md").write_text(CARD.format(tag), encoding="utf-8")
    assert read_checkpoint(folder).task.name == name


def test_a_bare_model_embeds_with_a_warning(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine", SMALL | {"architectures": ["Qwen3Model"]})
    found = read_checkpoint(folder)
    assert found.task == EMBED
    assert any("no modules.json says how" in warning for warning in found.warnings)


def test_a_name_alone_is_no_sign_but_a_warning(tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path / "my-reranker-v2"))
    assert found.task == GENERATE
    assert any("add --task rerank" in warning for warning in found.warnings)


def test_what_is_asked_for_decides(tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "it")
    assert read_checkpoint(folder, task="generate").task == GENERATE
    assert read_checkpoint(folder, task="embed").task == EMBED


def test_texts_that_the_library_cuts_are_a_warning(tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "it")
    settings = {"max_seq_length": 512, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    assert any("cuts texts to 512 tokens" in w for w in read_checkpoint(folder).warnings)


@pytest.mark.parametrize("longest", [SMALL["max_position_embeddings"], None])
def test_a_limit_that_the_model_has_anyway_is_none(longest: int | None, tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "it")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest}))
    assert not read_checkpoint(folder).warnings


def test_prompts_of_a_model_without_modules_are_a_warning(tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "it")
    (folder / "modules.json").unlink()
    found = read_checkpoint(folder)
    assert found.task == GENERATE
    assert any("add --task embed" in warning for warning in found.warnings)
    assert not read_checkpoint(folder, task="generate").warnings


def test_a_head_that_nothing_reads_is_listed(tmp_path: Path) -> None:
    untied = SMALL | {"tie_word_embeddings": False}
    found = read_checkpoint(write_checkpoint(tmp_path / "it", untied), task="embed")
    assert found.dropped == {"lm_head.weight": "a model to embed has no vocabulary head"}
    assert not any(weight.name == "lm_head.weight" for weight in found.weights)


class TestAdapter:
    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        return write_checkpoint(tmp_path / "base")

    def adapter(self, place: Path, task_type: str | None) -> Path:
        place.mkdir()
        (place / "adapter_config.json").write_text(json.dumps({"task_type": task_type}))
        return place

    @pytest.mark.parametrize(
        ("task_type", "name"),
        [("FEATURE_EXTRACTION", "embed"), ("CAUSAL_LM", "generate"), (None, "generate")],
    )
    def test_it_says_what_it_was_trained_for(
        self, task_type: str | None, name: str, base: Path, tmp_path: Path
    ) -> None:
        adapter = self.adapter(tmp_path / "adapter", task_type)
        assert find_task(base, "base", SMALL, adapter=adapter).task.name == name

    def test_a_classifier_of_a_model_that_generates_is_refused(
        self, base: Path, tmp_path: Path
    ) -> None:
        adapter = self.adapter(tmp_path / "adapter", "SEQ_CLS")
        with pytest.raises(CheckpointError, match="whose score the checkpoint does not have") as e:
            find_task(base, "base", SMALL, adapter=adapter)
        assert "merge_and_unload" in str(e.value.fix)


class TestDisagreement:
    def test_two_sources_are_named(self, tmp_path: Path) -> None:
        folder = write_embedding(tmp_path / "Qwen3-Reranker-0.6B")
        with pytest.raises(CheckpointError, match=r"modules\.json .*embed, its name .*rerank") as e:
            read_checkpoint(folder)
        assert e.value.fix == "--task embed, or --task rerank"

    @pytest.mark.parametrize("task", sorted(PUBLISHED.values()))
    def test_the_fix_decides(self, task: Any, tmp_path: Path) -> None:
        folder = write_embedding(tmp_path / "Qwen3-Reranker-0.6B")
        add_answers(folder)
        assert read_checkpoint(folder, task=task).task.name == task


class TestRefusals:
    def says(self, folder: Path, text: str) -> None:
        with pytest.raises(CheckpointError, match=text):
            read_checkpoint(folder)

    @pytest.mark.parametrize(
        "pooling",
        [
            {"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False},
            {"pooling_mode_lasttoken": False},
            {"pooling_mode": "mean"},
        ],
    )
    def test_another_pooling(self, pooling: dict[str, Any], tmp_path: Path) -> None:
        folder = write_embedding(tmp_path / "it")
        edit(folder / "1_Pooling" / "config.json", **pooling)
        self.says(folder, "embeddings are pooled by mean")

    def test_two_poolings(self, tmp_path: Path) -> None:
        folder = write_embedding(tmp_path / "it")
        edit(folder / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
        self.says(folder, "pooled by cls_token, lasttoken")

    def test_the_newer_key(self, tmp_path: Path) -> None:
        folder = write_embedding(tmp_path / "it")
        file = folder / "1_Pooling" / "config.json"
        file.write_text(json.dumps({"embedding_dimension": 96, "pooling_mode": "lasttoken"}))
        assert read_checkpoint(folder).task == EMBED

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            ("{", "not a list of modules"),
            ("[1]", "not a list of modules"),
            ('[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]',
             "a module Dense"),
            ('[{"type": "custom_st.Transformer", "path": ""}]', "code of the model's own"),
            ('[{"type": "sentence_transformers.x.Pooling", "path": "../up"}]',
             "leaves the checkpoint"),
            ('[{"type": "sentence_transformers.x.Pooling", "path": "/up"}]',
             "leaves the checkpoint"),
        ],
    )  # fmt: skip
    def test_other_modules(self, content: str, text: str, tmp_path: Path) -> None:
        folder = write_embedding(tmp_path / "it")
        (folder / "modules.json").write_text(content)
        self.says(folder, text)

    @pytest.mark.parametrize(
        "content", [{"default_prompt_name": "qery"}, {"prompts": {"document": None}}]
    )
    def test_prompts_that_are_none(self, content: dict[str, Any], tmp_path: Path) -> None:
        folder = write_embedding(tmp_path / "it")
        edit(folder / "config_sentence_transformers.json", **content)
        self.says(folder, "default_prompt_name")

    def test_a_transformer_apart_from_its_modules(self, tmp_path: Path) -> None:
        whole = write_embedding(tmp_path / "it")
        modules = json.loads((whole / "modules.json").read_text())
        (whole / "modules.json").write_text(json.dumps([modules[0] | {"path": "0_Transformer"}]))
        self.says(write_checkpoint(whole / "0_Transformer"), "a part of the model")

    def test_texts_in_lower_case(self, tmp_path: Path) -> None:
        folder = write_embedding(tmp_path / "it")
        (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
        self.says(folder, "made lower case first")

    def test_a_classifier_of_several_labels(self, tmp_path: Path) -> None:
        folder = write_classifier(tmp_path / "it")
        edit(folder / "config.json", id2label={"0": "no", "1": "yes"})
        self.says(folder, "has 2 labels; a reranker has one")

    @pytest.mark.parametrize("label", [-1, 2048, "yes", None, 1.0, True])
    def test_a_score_of_no_token(self, label: object, tmp_path: Path) -> None:
        folder = write_reranker(tmp_path / "it")
        edit(folder / "1_LogitScore" / "config.json", true_token_id=label)
        self.says(folder, "token")

    def test_a_vocabulary_without_answers(self, tmp_path: Path) -> None:
        folder = write_checkpoint(tmp_path / "Qwen3-Reranker-0.6B")
        self.says(folder, "the vocabulary lacks 'no' or 'yes'")
