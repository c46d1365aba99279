"""What a checkpoint is for: found from its files, in this one place.

Published Qwen3-Embedding and Qwen3-Reranker have the class of a model that generates; what tells
them apart are the files of the sentence-transformers library, their names and their model cards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qdeploy.architectures.task import GENERATE, Task, TaskName
from qdeploy.checkpoint.front_matter import CARD, read_front_matter
from qdeploy.checkpoint.sentence_transformers import (
    MODULES,
    TRANSFORMER_SETTINGS,
    Module,
    check_is_whole,
    check_pooling,
    read_modules,
    transformer_warnings,
)
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json
from qdeploy.tokenization.prompts import read_prompts
from qdeploy.tokenization.text_files import PROMPTS_FILE, find_text_files
from qdeploy.tokenization.tokenizer_file import read_tokenizer

CLASSIFIER = "ForSequenceClassification"
PUBLISHED: Mapping[str, TaskName] = {"Embedding": "embed", "Reranker": "rerank"}
NAME = re.compile(r"(?:^|/)Qwen3-(Embedding|Reranker)-[\d.]+B(?:-seq-cls)?$", re.IGNORECASE)
"""Names of the published models, and of their conversions to sequence classifiers."""
HINT = re.compile(r"embedding|reranker", re.IGNORECASE)
PIPELINES: Mapping[str, TaskName] = {
    "feature-extraction": "embed", "sentence-similarity": "embed", "text-ranking": "rerank",
}  # fmt: skip
"""Tasks of a model card's `pipeline_tag`, by the hub's names."""
LIBRARY: Mapping[str, TaskName] = {"SentenceTransformer": "embed", "CrossEncoder": "rerank"}
"""Tasks of `model_type` in the library's settings."""
ADAPTER_CONFIG = "adapter_config.json"
ADAPTERS: Mapping[str, TaskName] = {"FEATURE_EXTRACTION": "embed", "SEQ_CLS": "rerank"}
"""Tasks of an adapter's `task_type`; that of a model that generates says nothing here, either."""
ANSWERS = ("no", "yes")
"""The tokens whose logits Qwen3-Reranker's score compares (its model card, "Usage")."""
QWEN3_ANSWERS = (2152, 9693)
"""Ids of `ANSWERS` in Qwen3's vocabulary."""
SUGGESTED = (
    "{source} suggests another task than to generate, and no file names one; add --task {task} if "
    "that is what it is for"
)
UNSAID_POOLING = (
    f"no {MODULES} says how embeddings are made; they are those of the last token, normalized, as "
    "in Qwen3-Embedding"
)
UNSAID_PROMPT = (
    "queries and documents are prompted as in Qwen3-Reranker; no file of a sequence classifier "
    "says how it was trained"
)
TASK_FILES = (
    MODULES, TRANSFORMER_SETTINGS, "*_Pooling/config.json", "*_LogitScore/config.json",
)  # fmt: skip
"""Files that say what a model is for, besides its card and what bundles have; patterns."""


class Sign(NamedTuple):
    """A source that says what the model is for."""

    source: str
    task: TaskName


@dataclass(frozen=True)
class FoundTask:
    """The task of a checkpoint, and what its user should know of how it was found."""

    task: Task = GENERATE
    warnings: tuple[str, ...] = ()


def find_task(
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    *,
    asked: TaskName | None = None,
    adapter: Path | None = None,
) -> FoundTask:
    """Find what the checkpoint in *folder* is for.

    Args:
        folder: its directory.
        name: its hub id or the name of its directory.
        config: its `config.json`.
        asked: the user's choice, which decides where the files do not.
        adapter: folder of the adapter that is merged into its weights, which has a task, too.

    Raises:
        CheckpointError: two sources disagree and *asked* does not decide; or the model pools,
            scores or classifies in a way that is not supported.
    """
    if asked is None:
        check_is_whole(folder)
    modules = read_modules(folder)
    signs = list(_signs(folder, name, config, modules))
    if adapter:
        signs += _adapter_signs(adapter, config)
    chosen = asked or _agreed(signs, folder)
    if chosen == "embed":
        return _embedding(folder, name, config, modules)
    if chosen == "rerank":
        return _reranker(folder, name, config, modules)
    return FoundTask(warnings=() if asked else tuple(_hints(folder, name)))


def published_task(name: str) -> Task:
    """The task of a published model by its name, whose files need not be here."""
    match = NAME.search(name)
    return usual_task(PUBLISHED[match[1].title()]) if match else GENERATE


def usual_task(name: TaskName) -> Task:
    """The task with the details that it has in the published models."""
    labels = QWEN3_ANSWERS if name == "rerank" else ()
    return Task(name=name, normalize=name == "embed", labels=labels)


def _signs(
    folder: Path, name: str, config: Mapping[str, Any], modules: tuple[Module, ...]
) -> Iterator[Sign]:
    kinds = {module.kind for module in modules}
    if "Pooling" in kinds:
        yield Sign(f"{MODULES} (a Pooling module)", "embed")
    if "LogitScore" in kinds:
        yield Sign(f"{MODULES} (a LogitScore module)", "rerank")
    settings = folder / PROMPTS_FILE
    library = str(read_json(settings).get("model_type")) if settings.is_file() else ""
    if library in LIBRARY:
        yield Sign(f"{PROMPTS_FILE} (model_type {library})", LIBRARY[library])
    names = config.get("architectures")
    for architecture in map(str, names[:1] if isinstance(names, list) else ()):
        if architecture.endswith(CLASSIFIER):
            yield Sign(f"config.json ({architecture})", "rerank")
        elif architecture.endswith("Model"):
            yield Sign(f"config.json ({architecture})", "embed")
    if match := NAME.search(name):
        yield Sign(f"its name ({name})", PUBLISHED[match[1].title()])
    if (tag := read_front_matter(folder).get("pipeline_tag", "")) in PIPELINES:
        yield Sign(f"{CARD} (pipeline_tag {tag})", PIPELINES[tag])


def _hints(folder: Path, name: str) -> Iterator[str]:
    """Warnings about what suggests another task than to generate, but does not say it."""
    if hint := HINT.search(name):
        yield SUGGESTED.format(source=f"the name {name!r}", task=PUBLISHED[hint[0].title()])
    elif (folder / PROMPTS_FILE).is_file():
        yield SUGGESTED.format(source=f"a {PROMPTS_FILE}", task="embed")


def _adapter_signs(adapter: Path, config: Mapping[str, Any]) -> list[Sign]:
    """What an adapter was trained for, by PEFT's `task_type`.

    Raises:
        CheckpointError: a classifier, of a model that is none: only the adapter holds its score.
    """
    file = adapter / ADAPTER_CONFIG
    kind = str(read_json(file).get("task_type")) if file.is_file() else ""
    if kind == "SEQ_CLS" and not _is_classifier(config):
        raise CheckpointError(
            "the adapter makes a sequence classifier of a model that generates, whose score the "
            "checkpoint does not have",
            where=file,
            fix="merge it with PEFT (merge_and_unload), and export what that saves",
        )
    return (
        [Sign(f"{ADAPTER_CONFIG} (task_type {kind})", ADAPTERS[kind])] if kind in ADAPTERS else []
    )


def _is_classifier(config: Mapping[str, Any]) -> bool:
    names = config.get("architectures")
    return isinstance(names, list) and bool(names) and str(names[0]).endswith(CLASSIFIER)


def _agreed(signs: list[Sign], folder: Path) -> TaskName:
    first: dict[TaskName, Sign] = {}
    for sign in signs:
        first.setdefault(sign.task, sign)
    if len(first) > 1:
        one, other = first.values()
        raise CheckpointError(
            f"{one.source} says that the model is to {one.task}, {other.source} that it is to "
            f"{other.task}",
            where=folder,
            fix=f"--task {one.task}, or --task {other.task}",
        )
    return next(iter(first), "generate")


def _embedding(
    folder: Path, name: str, config: Mapping[str, Any], modules: tuple[Module, ...]
) -> FoundTask:
    read_prompts(folder)  # so that a malformed file is refused before a bundle has it
    if modules:
        task = Task(name="embed", normalize=check_pooling(folder, modules))
        return FoundTask(task, transformer_warnings(folder, config.get("max_position_embeddings")))
    task = usual_task("embed")
    return FoundTask(task) if NAME.search(name) else FoundTask(task, (UNSAID_POOLING,))


def _reranker(
    folder: Path, name: str, config: Mapping[str, Any], modules: tuple[Module, ...]
) -> FoundTask:
    if _is_classifier(config):
        _check_one_label(config, folder)
        task = Task(name="rerank")
        return FoundTask(task) if NAME.search(name) else FoundTask(task, (UNSAID_PROMPT,))
    score = next((module for module in modules if module.kind == "LogitScore"), None)
    labels = _score_labels(score, folder) if score else _answer_ids(folder)
    size = config.get("vocab_size")
    if isinstance(size, int) and (beyond := [i for i in labels if not 0 <= i < size]):
        raise CheckpointError(
            f"the score is of token {beyond[0]}; the model knows {size} tokens", where=folder
        )
    return FoundTask(Task(name="rerank", labels=labels))


def _check_one_label(config: Mapping[str, Any], folder: Path) -> None:
    """Check that a sequence classifier has one label; transformers' default is two."""
    by_id = config.get("id2label")
    count = len(by_id) if isinstance(by_id, dict) else config.get("num_labels", 2)
    if count != 1:
        raise CheckpointError(
            f"the sequence classifier has {count} labels; a reranker has one (id2label)",
            where=folder / "config.json",
            fix="export a model with one label, e.g. Qwen3-Reranker converted with num_labels=1",
        )


def _score_labels(module: Module, folder: Path) -> tuple[int, ...]:
    """Token ids for no, where the module has one, and yes."""
    file = folder / module.path / "config.json"
    content = read_json(file)
    true, false = content.get("true_token_id"), content.get("false_token_id")
    labels = [label for label in (false, true) if type(label) is int]
    if type(true) is not int or type(false) not in (int, type(None)):
        raise CheckpointError(f"true_token_id is {true!r}, false_token_id {false!r}", where=file)
    return tuple(labels)


def _answer_ids(folder: Path) -> tuple[int, ...]:
    described = read_tokenizer(find_text_files(folder))
    vocabulary = described.content["model"].get("vocab")
    known = (vocabulary if isinstance(vocabulary, dict) else {}) | described.added_ids
    ids = [known[answer] for answer in ANSWERS if type(known.get(answer)) is int]
    if len(ids) < len(ANSWERS):
        raise CheckpointError(
            f"the vocabulary lacks {' or '.join(map(repr, ANSWERS))}, whose logits are the score",
            where=folder,
            fix="--task generate, if the model is no reranker",
        )
    return tuple(ids)
