"""Where compiled graphs are kept, and that OpenVINO's provider takes the options it is given."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from qdeploy.backends.onnxruntime import compile_cache
from qdeploy.backends.onnxruntime.providers import OPENVINO_OPTIONS
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.system.threads import usable_threads
from qdeploy.targets import CPU, INTEL_CPU, ROCM
from tests.support.onnx_models import relu
from tests.support.onnxruntime_stub import chosen
from tests.support.real import NEEDS_INTEL_PROVIDER

OPENS = """\
import json, sys
import onnxruntime as ort, onnxruntime_ep_openvino as plugin
options = ort.SessionOptions()
options.log_severity_level = 2
ort.register_execution_provider_library("OpenVINOExecutionProvider", plugin.get_library_path())
devices = [d for d in ort.get_ep_devices() if dict(d.ep_metadata).get("ov_device") == "CPU"]
options.add_provider_for_devices(devices[:1], json.loads(sys.argv[2]))
ort.InferenceSession(sys.argv[1], options)
"""


def opened(model: Path, **options: str) -> str:
    """What the provider says while it opens *model* on the CPU, from warnings on."""
    command = [sys.executable, "-c", OPENS, str(model), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@NEEDS_INTEL_PROVIDER
def test_openvinos_provider_ignores_no_option_of_the_row(tmp_path: Path) -> None:
    samples = {"load_config": '{"CPU": {}}', "reshape_input": "x[1,4]", "enable_causallm": "0"}
    assert samples.keys() == OPENVINO_OPTIONS.keys()
    assert "is ignored" in opened(relu(tmp_path), num_of_threads="1")
    assert "is ignored" not in opened(relu(tmp_path), **samples)


@NEEDS_INTEL_PROVIDER
def test_openvinos_provider_writes_into_the_folder(tmp_path: Path) -> None:
    settings = kept(chosen(INTEL_CPU, "intel-cpu-int4-onnx"), tmp_path / "cache")
    opened(relu(tmp_path), **settings.options)
    (blob,) = (tmp_path / "cache").rglob("*.blob")
    folder = json.loads(settings.options["load_config"])["CPU"]["CACHE_DIR"]
    assert blob.parent == Path(folder)


def kept(settings: Settings, root: Path | None, bundle: str = "a", version: str = "1") -> Settings:
    return compile_cache.with_cache(settings, root, bundle=bundle, versions=[version])


def test_what_was_compiled_is_of_one_bundle_settings_versions_and_driver(tmp_path: Path) -> None:
    """MIGraphX names its files by the graph's shape, and they hold the weights."""
    made = chosen(ROCM, "rocm-int4-onnx")
    exhaustive = chosen(ROCM, "rocm-int4-onnx", migraphx_exhaustive_tune=True)
    newer = replace(made, device=replace(made.device, driver="ROCm 8"))
    other_gpu = replace(made, device=replace(made.device, name="AMD GPU gfx1201"))
    several = [
        kept(made, tmp_path), kept(made, tmp_path, bundle="b"), kept(made, tmp_path, version="2"),
        *(kept(each, tmp_path) for each in (exhaustive, newer, other_gpu)),
    ]  # fmt: skip
    folders = {settings.options["migraphx_model_cache_dir"] for settings in several}
    assert len(folders) == len(several)
    assert all(Path(folder).is_dir() for folder in folders)
    assert kept(made, tmp_path).options == several[0].options


def test_a_folder_of_the_users_own_stays_and_none_is_none(tmp_path: Path) -> None:
    own = chosen(ROCM, "rocm-int4-onnx", migraphx_model_cache_dir="/mine")
    assert kept(own, tmp_path).options["migraphx_model_cache_dir"] == "/mine"
    assert kept(own, None) is own
    cpu = chosen(CPU, "cpu-int4")
    assert kept(cpu, tmp_path) is cpu


def test_openvinos_folder_is_added_to_the_properties_that_are_set(tmp_path: Path) -> None:
    def config(**properties: Any) -> dict[str, dict[str, str]]:
        made = kept(chosen(INTEL_CPU, "intel-cpu-int4-onnx", **properties), tmp_path)
        found: dict[str, dict[str, str]] = json.loads(made.options["load_config"])
        return found

    usual = config()["CPU"]
    assert usual["INFERENCE_NUM_THREADS"] == str(usable_threads())
    assert Path(usual["CACHE_DIR"]).is_dir()
    own = config(load_config='{"CPU": {"NUM_STREAMS": "2", "CACHE_DIR": "/mine"}}')["CPU"]
    assert own == {"NUM_STREAMS": "2", "CACHE_DIR": "/mine"}
    file = kept(chosen(INTEL_CPU, "intel-cpu-int4-onnx", load_config="my.json"), tmp_path)
    assert file.options["load_config"] == "my.json"
