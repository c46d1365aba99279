"""What a bundle and the user's wishes become, and what is refused before anything starts."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from qdeploy import models, registry
from qdeploy.backends.vllm import VllmBackend, runtime
from qdeploy.backends.vllm.settings import resolve_settings
from qdeploy.bundle import Bundle
from qdeploy.checkpoint import hub
from qdeploy.deploy.export import export
from qdeploy.errors import InputError
from qdeploy.interface import Device, LoadOptions, Progress, Property
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.system import info
from qdeploy.targets import Evidence

CPU = Device("cpu", "a CPU", "cpu")
GPUS = tuple(Device(f"cuda:{n}", "a GPU", "cuda") for n in range(4))
DENSE, MOE = models.EMBEDDED


STATIC = {"dynamic": False}


def plan(model: str, profile: str) -> Plan:
    read = load_profile(profile)
    row = registry.format_of(read)
    target = registry.target(read.target)
    return make_plan(hub.resolve(model), read, target, format_row=row, context=1056)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / DENSE
    made = plan(DENSE, "cpu-int4-torch")
    return export(made, registry.exporter_for(made.format), folder, Progress(), force=False)


def test_a_cpu_gets_room_for_its_requests_and_one_more(bundle: Bundle) -> None:
    served = resolve_settings(bundle, CPU, LoadOptions(context=1000, concurrency=400)).served
    assert (served.dtype, served.context, served.sequences) == ("bfloat16", 1000, 400)
    layers, heads, size, tokens = 4, 2, 128, 9 * 128
    assert served.cache_bytes == 2 * layers * heads * size * 2 * tokens * 401
    assert served.devices == ()
    assert served.sizes == ()


def test_a_context_is_at_most_the_bundles(bundle: Bundle) -> None:
    assert resolve_settings(bundle, CPU, LoadOptions(context=10**6)).served.context == 1056


def test_several_gpus_share_a_model(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    options = LoadOptions(devices=(GPUS[1], GPUS[3]))
    settings = resolve_settings(bundle, GPUS[1], options)
    assert settings.served.devices == ("1", "3")
    assert settings.served.sizes == ("--tensor-parallel-size", "2")
    assert settings.served.cache_bytes is None
    assert settings.mask == "CUDA_VISIBLE_DEVICES=1,3"


def test_a_mask_that_is_set_is_kept_to(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa, 5,6")
    for place, name in ((0, "GPU-aa"), (1, "5")):
        assert resolve_settings(bundle, GPUS[place], LoadOptions()).served.devices == (name,)


def test_properties_are_flags_and_strict(bundle: Bundle) -> None:
    given = LoadOptions(properties={"enforce_eager": False, "python": "/env/bin/python"})
    settings = resolve_settings(bundle, CPU, given)
    assert settings.served.options == {"enforce-eager": False}
    assert settings.python == "/env/bin/python"
    for properties, words in (
        ({"enforce_eagre": True}, "no property 'enforce_eagre'"),
        ({"max_num_batched_tokens": "many"}, "max_num_batched_tokens is 'many'"),
    ):
        with pytest.raises(InputError, match=words):
            resolve_settings(bundle, CPU, LoadOptions(properties=properties))


def test_the_server_sees_the_models_files_alone(bundle: Bundle, tmp_path: Path) -> None:
    """Weights of any name in a folder are read by vLLM: it stops at one that is not the model's."""
    runtime.link_model(bundle.path, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "model.safetensors",
    }  # fmt: skip
    assert all(file.resolve().parent == bundle.path for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "profile", "words"),
    [
        (MOE, "cpu-int4-torch", "experts in floats only"),
        (MOE, "cpu-int8-vllm", "experts in floats only"),
        (DENSE, "cpu-int8-torch", "no kernel for eight-bit codes with inputs in floats"),
        (DENSE, "cpu-int8", "it loads the format safetensors"),
        (DENSE, "cpu-int8-vllm", None),
        (DENSE, "cpu-fp16-vllm", None),
        (MOE, "cpu-fp16-vllm", None),
        (MOE, "cuda-int4", None),
    ],
)
def test_what_it_cannot_run_is_said_by_the_plan(
    model: str, profile: str, words: str | None
) -> None:
    reason = VllmBackend().why_not(plan(model, profile))
    assert reason is None if words is None else words in str(reason)


@pytest.mark.parametrize("flags", ["avx2 fma", "avx512f avx512vl avx512bw avx512dq"])
def test_four_bits_need_avx512(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(info, "cpu_flags", lambda: frozenset(flags.split()))
    reason = VllmBackend().why_not(plan(DENSE, "cpu-int4-torch"))
    assert ("AVX-512 only" in str(reason)) == ("avx512f" not in flags)


@pytest.mark.parametrize(
    ("group", "experts", "words"),
    [
        ({"weights": {"num_bits": 4, "type": "int"}}, 0, "AVX-512 only"),
        ({"weights": {"num_bits": 8, "type": "int"}}, 0, "inputs in floats"),
        ({"weights": {"num_bits": 8, "type": "float"}}, 0, "FP8 with inputs in floats"),
        ({"weights": {"num_bits": 8, "type": "int"}, "input_activations": {}}, 0, None),
        ({"weights": {"num_bits": 8, "type": "int"}, "input_activations": {}}, 8, "experts"),
        ({"weights": {"num_bits": 8, "type": "int"}, "input_activations": STATIC}, 0, None),
        (None, 8, None),
    ],
)
def test_a_bundle_is_refused_by_its_own_words(
    group: dict[str, object] | None,
    experts: int,
    words: str | None,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(info, "cpu_flags", lambda: frozenset({"avx2"}))
    config = json.loads((bundle.path / "config.json").read_text())
    config.pop("quantization_config", None)
    if group is not None:
        groups = {"group_0": {"targets": ["Linear"], **group}}
        config["quantization_config"] = {"config_groups": groups}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = bundle.manifest.model.model_copy(update={"experts": experts})
    manifest = bundle.manifest.model_copy(update={"model": model})
    reason = VllmBackend().refuses(Bundle(tmp_path, manifest), registry.target("cpu"))
    assert reason is None if words is None else words in str(reason)


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (DENSE, "int8-static", None),
        (MOE, "int8", None),
        (MOE, "int8-static", "experts in int8 with inputs rounded token by token only"),
    ],
)
def test_static_scales_of_experts_inputs_have_no_kernel_on_any_device(
    model: str, inputs: str, words: str | None
) -> None:
    made = plan(model, "cuda-int8")
    graph = made.profile.graph.model_copy(update={"input_activations": inputs})
    made = replace(made, profile=made.profile.model_copy(update={"graph": graph}))
    reason = VllmBackend().why_not(made)
    assert reason is None if words is None else words in str(reason)


NODES: dict[str, Property] = {"nodes": "127.0.0.1,127.0.0.2", "tensor_parallel": 2}
SIMULATED = Device("cpu", "simulated: nodes on one CPU", "cpu", evidence=Evidence.SIMULATED)


def test_nodes_of_cpus_are_simulated(bundle: Bundle) -> None:
    spread = resolve_settings(bundle, SIMULATED, LoadOptions(properties=NODES)).spread
    assert spread is not None
    assert [node.host for node in spread.nodes] == ["127.0.0.1", "127.0.0.2"]
    assert spread.sizes.tensor == 2


@pytest.mark.parametrize(
    ("device", "properties", "fix"),
    [(CPU, NODES, "--simulate"), (SIMULATED, {}, "--nodes 127.0.0.1,127.0.0.2")],
)
def test_one_without_the_other_is_refused(
    device: Device, properties: dict[str, Property], fix: str, bundle: Bundle
) -> None:
    with pytest.raises(InputError, match="nodes") as refused:
        resolve_settings(bundle, device, LoadOptions(properties=properties))
    assert fix in (refused.value.fix or "")
