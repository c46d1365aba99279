"""Compiled blobs: which compilation each is kept for."""

from __future__ import annotations

from pathlib import Path

from qdeploy.backends.openvino import compile_cache
from qdeploy.backends.openvino.settings import Settings
from tests.support.openvino_settings import CPU, GPU, NPU, SIMULATED_NPU, resolve


def folder(
    chosen: Settings, *, bundle: str = "b", driver: str | None = "1", runtime: str = "r"
) -> Path | None:
    return compile_cache.cache_folder(
        Path("c"), chosen, bundle=bundle, driver=driver, runtime=runtime
    )


def test_a_blob_is_kept_for_this_very_compilation() -> None:
    one = resolve(NPU)
    kept = [
        folder(one),
        folder(one, bundle="other"),
        folder(one, driver="2"),
        folder(one, driver=None),
        folder(one, runtime="other"),
        folder(resolve(NPU, context=2000)),
        folder(resolve(NPU, X=1)),
        folder(resolve(GPU)),
    ]
    assert len(set(kept)) == len(kept)
    assert folder(one) == folder(resolve(NPU))
    assert kept[0] is not None
    assert kept[0].is_relative_to("c/openvino")


def test_the_cpu_keeps_no_blobs() -> None:
    assert folder(resolve(CPU)) is None
    assert folder(resolve(SIMULATED_NPU)) is None


def test_no_cache_folder_keeps_nothing() -> None:
    found = compile_cache.cache_folder(None, resolve(NPU), bundle="b", driver="1", runtime="r")
    assert found is None
