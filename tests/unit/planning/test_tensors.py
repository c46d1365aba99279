"""A head that is tied to the embedding is planned by itself where the format unties it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.forecast.roofline import decode
from qdeploy.planning.plan import Plan
from tests.support.native import FLOAT, resolve
from tests.support.tiny import DENSE, SPARSE, write

INT4 = '{ dtype = "int4", group_size = 32, symmetric = true }'
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    return write(tmp_path / "tied", DENSE)


def heads(plan: Plan) -> dict[str, str | None]:
    """What each lm_head that is stored reads."""
    return {t.name: t.reads for t in plan.tensors if t.role == "lm_head"}


def test_another_precision_makes_it_a_tensor_of_its_own(tied: Path) -> None:
    plan = resolve(tied, head=INT4, format="safetensors")
    assert heads(plan) == {HEAD: EMBEDDING}
    by_name = {t.name: t for t in plan.tensors}
    assert str(by_name[HEAD].precision) == "int4 sym g32"
    assert str(by_name[EMBEDDING].precision) == "fp16"
    assert by_name[HEAD].source == by_name[EMBEDDING].source == EMBEDDING
    assert not plan.is_tied


def test_bytes_are_counted_and_parameters_are_not(tied: Path) -> None:
    shared, apart = (resolve(tied, head=head, format="safetensors") for head in (FLOAT, INT4))
    size = {t.name: t.nbytes for t in apart.tensors}
    assert shared.is_tied
    assert heads(shared) == {}
    assert apart.weight_bytes == shared.weight_bytes + size[HEAD]
    assert apart.bytes_per_token == shared.bytes_per_token - size[EMBEDDING] + size[HEAD]
    assert decode(shared, 0).nbytes - decode(apart, 0).nbytes == size[EMBEDDING] - size[HEAD]
    assert decode(shared, 0).operations == decode(apart, 0).operations
    for plan in (shared, apart):
        counted = sum(row["parameters"] for row in plan.by_precision().values())
        assert counted == plan.checkpoint.parameters == plan.summary()["parameters"]


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_graphs_share_it_with_the_embedding(format: str, tied: Path) -> None:
    plan = resolve(tied, head=INT4, format=format)
    assert heads(plan) == {}
    assert plan.is_tied


def test_a_head_that_is_stored_is_read(tmp_path: Path) -> None:
    plan = resolve(write(tmp_path / "apart", SPARSE), head=INT4, format="safetensors")
    assert heads(plan) == {HEAD: None}
    assert not plan.is_tied
