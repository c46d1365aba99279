"""What is decided before and around ONNX Runtime: settings, placement, drawing tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.backends.onnxruntime.placement import Node, prove_placement
from qdeploy.backends.onnxruntime.providers import FOR_TARGET
from qdeploy.backends.onnxruntime.settings import Settings, resolve_settings
from qdeploy.errors import InputError, PlacementError
from qdeploy.interface import Device, LoadOptions, Property, Sampling
from qdeploy.interface.sampler import Sampler
from qdeploy.planning.profile import Graph
from qdeploy.targets import Evidence
from tests.support.bundles import scripted_bundle

CPU, OPENVINO = "CPUExecutionProvider", "OpenVINOExecutionProvider"


def resolve(
    tmp_path: Path,
    target: str = "cpu",
    *,
    format: str = "onnx",
    concurrency: int = 1,
    **properties: Property,
) -> Settings:
    """Settings for a made-up bundle of this format on the target's provider."""
    provider = FOR_TARGET[target][0]
    forms = {"attention": provider.attention or "gqa", "experts": provider.experts or "fused"}
    graph = Graph.model_validate(forms)
    manifest = scripted_bundle(tmp_path / "bundle").manifest
    profile = manifest.profile.model_copy(
        update={"graph": graph, "runtime": manifest.profile.runtime.model_copy(
            update={"properties": properties})}
    )  # fmt: skip
    changed = manifest.model_copy(update={"format": format, "profile": profile})
    device = Device(provider.name, "made up", target)
    return resolve_settings(changed, provider, device, LoadOptions(concurrency=concurrency))


def test_properties_go_where_their_names_say(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "intra_op_num_threads": 2, "enable_causallm": False,
        "session.intra_op.allow_spinning": False,
    }  # fmt: skip
    made = resolve(tmp_path, "intel-cpu", **given)
    assert made.session == {"intra_op_num_threads": 2, "session.intra_op.allow_spinning": False}
    threads = '{"CPU": {"INFERENCE_NUM_THREADS": "2"}}'
    assert made.options == {"enable_causallm": "0", "load_config": threads}


def test_the_runtimes_own_loop_is_the_default_where_there_is_one(tmp_path: Path) -> None:
    assert resolve(tmp_path / "1").loop == "genai"
    assert resolve(tmp_path / "2", loop="own").loop == "own"
    assert resolve(tmp_path / "3", "intel-cpu").loop == "own"
    assert resolve(tmp_path / "4", format="onnx-static").loop == "own"


@pytest.mark.parametrize(
    ("target", "given", "served"),
    [
        ("cpu", {}, 8),
        ("cpu", {"loop": "genai"}, 1),
        ("cpu", {"loop": "own"}, 1),
        ("cpu", {"format": "onnx-static"}, 1),
        ("intel-cpu", {}, 1),
        ("cuda", {}, 1),
    ],
)
def test_requests_are_batched_on_the_cpu_unless_a_loop_was_chosen(
    tmp_path: Path, target: str, given: dict[str, Any], served: int
) -> None:
    assert resolve(tmp_path, target, concurrency=8, **given).concurrency == served


@pytest.mark.parametrize(
    ("target", "properties", "says"),
    [
        ("intel-cpu", {"reshape_inputs": "x"}, "did you mean 'reshape_input'?"),
        ("intel-cpu", {"load_config": 2}, "give it as str"),
        ("cpu", {"session.intra_op.allow_spin": False}, "'session.intra_op.allow_spinning'?"),
        ("cpu", {"session.set_denormal_as_zero": "yes"}, "give it as bool"),
        ("cpu", {"ep.context_enable": "1"}, "neither the session nor CPUExecutionProvider has"),
        ("cpu", {"loop": "theirs"}, "use genai or own"),
        ("intel-cpu", {"loop": "genai"}, "does not run this bundle"),
        ("cpu", {"session.disable_prepacking": "1"}, "fifty times as long"),
        ("cpu", {"intra_op_num_threads": True}, "give it as int"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    target: str, properties: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        resolve(tmp_path, target, **properties)
    assert says in str(caught.value)


def test_a_bundle_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes onnx bundles, and this is onnx-static") as caught:
        resolve(tmp_path, "intel-cpu", format="onnx-static")
    assert caught.value.fix == "export it for that target: --target intel-cpu --backend onnxruntime"


NODES = [
    Node(OPENVINO, "MatMulNBits", "q_proj"),
    Node(CPU, "Shape", "shape"),
    Node(CPU, "GroupQueryAttention", "attention"),
]


class TestPlacement:
    def test_light_work_may_be_elsewhere(self, tmp_path: Path) -> None:
        proved = prove_placement(NODES[:2], resolve(tmp_path, "intel-cpu"))
        assert proved.devices == (OPENVINO,)
        assert proved.nodes == {OPENVINO: 1, CPU: 1}
        assert proved.fallback == ()

    def test_a_heavy_operator_elsewhere_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        with pytest.raises(PlacementError, match="1 heavy operator") as caught:
            prove_placement(NODES, resolve(tmp_path, "intel-cpu"))
        assert "attention (GroupQueryAttention, on CPUExecutionProvider)" in str(caught.value)
        assert "--allow-fallback" in str(caught.value)

    def test_allowed_it_stays_in_the_result(self, tmp_path: Path) -> None:
        allowed = replace(resolve(tmp_path, "intel-cpu"), allow_fallback=True)
        proved = prove_placement(NODES, allowed)
        assert proved.devices == (OPENVINO, CPU)
        assert proved.fallback == ("GroupQueryAttention attention on CPUExecutionProvider",)
        assert proved.as_dict()["fallback"] == list(proved.fallback)

    def test_evidence_is_the_devices(self, tmp_path: Path) -> None:
        made = resolve(tmp_path)
        device = replace(made.device, evidence=Evidence.SIMULATED)
        proved = prove_placement([Node(CPU, "MatMul", "q_proj")], replace(made, device=device))
        assert proved.evidence is Evidence.SIMULATED

    @pytest.mark.parametrize("kind", ["MatMulInteger", "QGemm", "Einsum", "Softmax", "Unheard-of"])
    def test_whatever_is_not_known_as_light_is_heavy(self, kind: str, tmp_path: Path) -> None:
        nodes = [NODES[0], Node(CPU, kind, "layer.0")]
        with pytest.raises(PlacementError, match=f"layer.0 \\({kind}, on"):
            prove_placement(nodes, resolve(tmp_path, "intel-cpu"))

    @pytest.mark.parametrize("nodes", [[], NODES[1:2], [Node(OPENVINO, "Shape", "shape")]])
    def test_a_device_that_does_nothing_proves_nothing(
        self, nodes: list[Node], tmp_path: Path
    ) -> None:
        with pytest.raises(PlacementError, match=f"nothing of the model is on {OPENVINO}"):
            prove_placement(nodes, resolve(tmp_path, "intel-cpu"))

    def test_nor_does_one_that_was_allowed_to_leave_all_to_others(self, tmp_path: Path) -> None:
        allowed = replace(resolve(tmp_path, "intel-cpu"), allow_fallback=True)
        with pytest.raises(PlacementError, match="nothing of the model"):
            prove_placement(NODES[1:], allowed)


LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40)


class TestSampler:
    @given(LOGITS)
    def test_greedy_takes_the_first_of_the_best(self, logits: list[float]) -> None:
        drawn = Sampler(Sampling()).draw(np.array(logits, np.float32))
        assert drawn == logits.index(max(logits))

    @given(LOGITS, st.integers(1, 40), st.integers(0, 2**32 - 1))
    def test_only_the_k_best_are_drawn(self, logits: list[float], k: int, seed: int) -> None:
        sampling = Sampling(temperature=5.0, top_k=k, seed=seed)
        drawn = Sampler(sampling).draw(np.array(logits, np.float32))
        assert sum(x > logits[drawn] for x in logits) < k

    @given(LOGITS, st.floats(0.01, 1.0), st.integers(0, 2**32 - 1))
    def test_only_the_nucleus_is_drawn(self, logits: list[float], p: float, seed: int) -> None:
        """What is more probable than the token drawn does not reach top_p without it."""
        values = np.array(logits, np.float32).astype(np.float64)
        shares = np.exp(values - values.max())
        shares /= shares.sum()
        drawn = Sampler(Sampling(temperature=1.0, top_p=p, seed=seed)).draw(
            np.array(logits, np.float32)
        )
        assert shares[values > values[drawn]].sum() <= p + 1e-9

    def test_draws_follow_the_probabilities(self) -> None:
        logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
        sampler = Sampler(Sampling(temperature=1.0, seed=1))
        counts = np.bincount([sampler.draw(logits) for _ in range(4000)], minlength=3) / 4000
        assert np.abs(counts - [0.5, 0.3, 0.2]).max() < 0.03

    def test_the_same_seed_draws_the_same(self) -> None:
        logits = np.random.default_rng(0).standard_normal(100).astype(np.float32)
        runs = []
        for _ in range(2):
            sampler = Sampler(Sampling(temperature=2.0, seed=9))
            runs.append([sampler.draw(logits) for _ in range(20)])
        assert runs[0] == runs[1]
