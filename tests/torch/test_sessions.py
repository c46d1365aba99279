"""Sessions on torch beside others in the process, and at the limits of what they take."""

from __future__ import annotations

import numpy as np
import pytest

import qdeploy
from qdeploy.bundle import Bundle
from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.interface import Request

torch = pytest.importorskip("torch")

IDS = (5, 9, 300, 41)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("sessions") / "bundle"
    return qdeploy.export("qwen3-nano", target="cpu", profile="cpu-int4-torch", output=folder)


def load(bundle: Bundle, context: int, threads: int | None = None) -> ChatModel:
    model = qdeploy.load(bundle, context=context, threads=threads)
    assert isinstance(model, ChatModel)
    return model


def test_a_context_of_one_token_scores_it(bundle: Bundle) -> None:
    with load(bundle, 1) as model, load(bundle, 8) as longer:
        np.testing.assert_array_equal(model.score(IDS[:1]), longer.score(IDS[:1]))
        with pytest.raises(qdeploy.QdeployError, match="the prompt has 1 tokens"):
            model.session.generate(Request(IDS[:1], 1))


def test_each_session_has_its_threads_and_the_process_keeps_its_own(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One number of threads holds for all of the process."""
    computed: list[int] = []
    embedding = torch.nn.functional.embedding

    def seen(*args: object) -> object:
        computed.append(torch.get_num_threads())
        return embedding(*args)

    monkeypatch.setattr(torch.nn.functional, "embedding", seen)
    before = torch.get_num_threads()
    with (
        load(bundle, 64, threads=3) as three,
        load(bundle, 64, threads=2) as two,
    ):
        assert (three.placement.threads, two.placement.threads) == (3, 2)
        for model in (three, two):
            computed.clear()
            model.score(IDS)
            list(model.session.generate(Request(IDS, 2)))
            assert set(computed) == {model.placement.threads}
            assert torch.get_num_threads() == before
