"""Cosines, and agreement of the orders by two models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qdeploy.errors import InputError
from qdeploy.evaluate.gate import encoding_failures
from qdeploy.evaluate.ranking import agreement, cosines, similarities, without_self
from qdeploy.evaluate.sentences import DOCUMENTS, QUERIES, read_sentences
from qdeploy.evaluate.text import PROSE
from qdeploy.planning.profile import Quality
from qdeploy.results import Cosine, ScoreDifference


def floats(*rows: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


def test_cosines_do_not_depend_on_lengths() -> None:
    found = cosines(floats([1, 0], [2, 2], [1, 0]), floats([3, 0], [1, 1], [-5, 0]))
    assert found == pytest.approx([1, 1, -1])


def test_similarities_are_of_each_query_to_each_document() -> None:
    found = similarities(floats([2, 0]), floats([1, 0], [0, 3], [1, 1]))
    assert found == pytest.approx(floats([1, 0, 0.5**0.5]))


def test_the_same_order_by_other_scores_agrees() -> None:
    found = agreement(floats([0.1, 0.9, 0.5]), floats([-3, 8, 7]))
    assert found.correlation == pytest.approx(1)
    assert found.top1 == 1


def test_a_reversed_order_does_not() -> None:
    found = agreement(floats([1, 2, 3]), floats([3, 2, 1]))
    assert found.correlation == pytest.approx(-1)
    assert found.top1 == 0


def test_agreement_is_the_mean_over_queries() -> None:
    found = agreement(floats([1, 2, 3], [1, 2, 3]), floats([1, 2, 3], [3, 2, 1]))
    assert found.correlation == pytest.approx(0)
    assert found.top1 == 0.5


def test_a_query_does_not_rank_itself() -> None:
    found = without_self(floats([1, 2, 3], [4, 5, 6]), (0, 2))
    assert found.tolist() == [[2, 3], [4, 5]]


def test_sentences_of_the_shipped_text() -> None:
    text = read_sentences(PROSE)
    assert (len(text.documents), len(text.queries)) == (DOCUMENTS, QUERIES)
    assert text.documents[0].startswith("The ferry")
    assert any("\u3002" in sentence for sentence in text.documents)
    assert read_sentences(PROSE, documents=5).as_dict()["documents"] == 5


def test_a_text_of_few_sentences_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("One. Two.", encoding="utf-8")
    with pytest.raises(InputError, match="2 sentences"):
        read_sentences(str(file))


def test_the_gate_of_vectors_and_scores() -> None:
    limits = Quality(min_cosine=0.99, max_score_difference=0.05)
    assert encoding_failures(Cosine(mean=1, min=0.99), None, limits) == ()
    [cosine] = encoding_failures(Cosine(mean=1, min=0.98), None, limits)
    assert cosine == "smallest cosine 0.98; at least 0.99"
    assert encoding_failures(None, ScoreDifference(mean=0, max=0.05), limits) == ()
    [score] = encoding_failures(None, ScoreDifference(mean=0, max=0.06), limits)
    assert score == "largest difference of a score 0.06; at most 0.05"
    assert encoding_failures(Cosine(mean=0, min=0), None, Quality()) == ()
