"""Modules are found under every name that a chain of wrappers can give them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.naming.module_names import ModuleNames
from tests.support.checkpoints import MOE, SMALL, shapes

UNTIED = {"tie_word_embeddings": False}
TABLE = {
    name: Tensor(shape, "linear")
    for config in (SMALL, SMALL | MOE)
    for name, shape in shapes(config | UNTIED).items()
}
NAMES = ModuleNames(TABLE)
MODULES = sorted({name.rpartition(".")[0] for name in TABLE})
WRAPPERS = ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module",
            "base_layer", "original_module", "modules_to_save.default"]  # fmt: skip
ROOTS = ["model", "base_model", "base_model.model", "pretrained_model", "language_model"]

modules = st.sampled_from(MODULES)


@given(modules)
def test_a_module_is_found_by_its_own_name(module: str) -> None:
    assert NAMES.find(module) == module


@given(
    modules,
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(WRAPPERS)), max_size=4),
    st.lists(st.sampled_from(ROOTS), max_size=3),
    st.booleans(),
)
def test_a_module_is_found_in_wrappers(
    module: str, wrappers: list[tuple[int, str]], roots: list[str], bare: bool
) -> None:
    parts = (module.removeprefix("model.") if bare else module).split(".")
    for place, wrapper in wrappers:
        parts.insert(place, wrapper)
    assert NAMES.find(".".join([*roots, *parts])) == module


@given(st.lists(st.sampled_from(["model", "layers", "0", "7", "mlp", "x", "module", ""])))
def test_what_is_no_module_is_not_found(parts: list[str]) -> None:
    name = ".".join(parts)
    assert NAMES.find(name) in {None, *MODULES}
    assert NAMES.find(f"{name}.of.another.model") is None


def test_a_layer_is_known_by_its_number() -> None:
    assert NAMES.is_in_a_layer("module.model.layers.1.self_attn.new_norm")
    assert NAMES.is_in_a_layer("layers.0.x")
    assert not NAMES.is_in_a_layer("model.layers.2.self_attn.q_proj")
    assert not NAMES.is_in_a_layer("vision_tower.encoder.layers.1.mlp")


def test_experts_are_counted() -> None:
    assert dict(NAMES.experts) == {f"model.layers.{n}.mlp.experts": 4 for n in range(2)}
