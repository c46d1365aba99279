"""`qdeploy embed` and `qdeploy rerank`, on ONNX Runtime."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command import QuickCommand, Result
from tests.support.encoding import TEXTS, write_embedding, write_reranker

pytestmark = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs qdeploy[onnx]")


def exported(quick: QuickCommand, command: str) -> str:
    """The bundle of the folder `model`, for which *command* is named as the next one."""
    done = quick("export", "model", "--target", "cpu", "--profile", "cpu-int8", "-o", "bundle")
    assert done.code == 0, done.stderr
    assert f"next: qdeploy {command} bundle" in done.stderr
    return "bundle"


@pytest.fixture
def embedding(quick: QuickCommand, here: Path) -> str:
    write_embedding(here / "model")
    return exported(quick, "embed")


@pytest.fixture
def reranker(quick: QuickCommand, here: Path) -> str:
    write_reranker(here / "model")
    return exported(quick, "rerank")


def lines(done: Result) -> list[dict[str, Any]]:
    assert done.code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class TestEmbed:
    def test_a_line_a_text(self, quick: QuickCommand, embedding: str) -> None:
        found = lines(quick("embed", embedding, *TEXTS))
        assert [line["index"] for line in found] == [0, 1, 2, 3]
        for line in found:
            assert set(line) == {"index", "embedding", "tokens"}
            assert len(line["embedding"]) == 96
            assert np.linalg.norm(line["embedding"]) == pytest.approx(1, abs=1e-5)

    def test_a_text_a_line_of_stdin(self, quick: QuickCommand, embedding: str) -> None:
        given = lines(quick("embed", embedding, *TEXTS))
        read = lines(quick("embed", embedding, "--batch-size", "3", stdin="\n".join(TEXTS)))
        assert [line["tokens"] for line in read] == [line["tokens"] for line in given]
        for one, other in zip(given, read, strict=True):
            assert np.dot(one["embedding"], other["embedding"]) > 0.9999

    def test_json_lines(self, quick: QuickCommand, embedding: str) -> None:
        given = lines(quick("embed", embedding, "two\nlines", "one"))
        written = json.dumps("two\nlines") + '\n{"id": 7, "text": "one"}\n'
        assert lines(quick("embed", embedding, "--json-lines", stdin=written)) == given

    @pytest.mark.parametrize(
        ("arguments", "stdin", "says"),
        [
            ([], '"a"\nb\n', "line 2 of stdin is not JSON"),
            ([], '{"txt": "a"}\n', "an object with a text as 'text'"),
            ([], "[1]\n", "neither a text in JSON"),
            (["a"], "", "--json-lines is about stdin"),
        ],
    )
    def test_lines_without_a_text(
        self, arguments: list[str], stdin: str, says: str, quick: QuickCommand, embedding: str
    ) -> None:
        quick("embed", embedding, *arguments, "--json-lines", stdin=stdin).fails(2, says)

    def test_queries_and_dimensions(self, quick: QuickCommand, embedding: str) -> None:
        [plain] = lines(quick("embed", embedding, "Hello", "--dimensions", "8"))
        [query] = lines(quick("embed", embedding, "Hello", "--query", "--dimensions", "8"))
        [named] = lines(
            quick("embed", embedding, "Hello", "--prompt-name", "query", "--dimensions", "8")
        )
        assert len(plain["embedding"]) == 8
        assert query == named
        assert query["tokens"] > plain["tokens"]

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["x", "--query", "--prompt", "y"], "exclude each other"),
            (["x", "--prompt-name", "quory"], "did you mean 'query'?"),
            (["x", "--dimensions", "97"], "give 1 to 96"),
            (["x " * 3000], "allow truncation (--truncate)"),
            ([], "stdin has no text"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, arguments: list[str], says: str, quick: QuickCommand, embedding: str
    ) -> None:
        quick("embed", embedding, *arguments).fails(2, says)

    def test_truncation_is_a_fix(self, quick: QuickCommand, embedding: str) -> None:
        [line] = lines(quick("embed", embedding, "x " * 3000, "--truncate"))
        assert line["tokens"] == 2048

    def test_stdin_that_is_not_utf8(self, quick: QuickCommand, embedding: str) -> None:
        quick("embed", embedding, stdin=b"\xff\n").fails(2, "not UTF-8")

    @pytest.mark.parametrize("command", [("run", "x"), ("rerank", "x", "y"), ("bench",)])
    def test_other_commands_name_this_one(
        self, command: tuple[str, ...], quick: QuickCommand, embedding: str
    ) -> None:
        name, *rest = command
        done = quick(name, embedding, *rest)
        assert done.code == 2
        assert "fix: qdeploy embed" in done.stderr


class TestRerank:
    def test_a_line_a_document(self, quick: QuickCommand, reranker: str) -> None:
        query, *documents = TEXTS
        found = lines(quick("rerank", reranker, query, *documents))
        assert [line["index"] for line in found] == [0, 1, 2]
        assert all(0 <= line["score"] <= 1 for line in found)
        read = lines(quick("rerank", reranker, query, stdin="\n".join(documents)))
        as_json = "\n".join(map(json.dumps, documents))
        assert lines(quick("rerank", reranker, query, "--json-lines", stdin=as_json)) == read
        assert [line["tokens"] for line in read] == [line["tokens"] for line in found]

    def test_the_best_first(self, quick: QuickCommand, reranker: str) -> None:
        query, *documents = TEXTS
        every = lines(quick("rerank", reranker, query, *documents))
        best = lines(quick("rerank", reranker, query, *documents, "--top-n", "2"))
        wanted = sorted(every, key=lambda line: -line["score"])[:2]
        assert [line["index"] for line in best] == [line["index"] for line in wanted]

    def test_an_instruction(self, quick: QuickCommand, reranker: str) -> None:
        [usual] = lines(quick("rerank", reranker, "What?", "This."))
        [other] = lines(quick("rerank", reranker, "What?", "This.", "--instruction", "Rhymes."))
        assert other["tokens"] < usual["tokens"]


def test_a_task_that_is_asked_for(quick: QuickCommand, here: Path) -> None:
    write_embedding(here / "Qwen3-Reranker-0.6B")
    export = ("export", "Qwen3-Reranker-0.6B", "--target", "cpu", "-o", "bundle")
    quick(*export).fails(2, "modules.json", "its name", "--task embed, or --task rerank")
    assert quick(*export, "--task", "embed").code == 0
    assert quick("plan", "Qwen3-Reranker-0.6B", "--target", "cpu", "--task", "embed").code == 0
    assert len(lines(quick("embed", "bundle", "x"))) == 1


@pytest.mark.parametrize("target", ["intel-npu", "ascend"])
def test_targets_of_fixed_shapes_are_refused(target: str, quick: QuickCommand, here: Path) -> None:
    write_embedding(here / "model")
    quick("export", "model", "--target", target).fails(
        2, "to embed", "fix:", "intel-cpu" if target == "intel-npu" else "another --target"
    )
