"""What ONNX Runtime throws, in qdeploy's words: real exceptions where they can be had here."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.backends.onnxruntime.errors import translated
from qdeploy.errors import GenerationFailed, PlacementError
from qdeploy.system.memory import LESS
from tests.support.onnx_models import open_session, relu


def told(error: BaseException) -> GenerationFailed:
    with pytest.raises(GenerationFailed) as caught, translated("loading", where="x", fix="verify"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "said",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Available memory of 8 is smaller than 16",
        "/onnxruntime_src/onnxruntime/core/cuda_call.cc:129 CUDA failure 2: out of memory ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
        "std::bad_alloc",
    ],
)
def test_memory_that_ran_out_has_its_own_fix(said: str) -> None:
    error = told(RuntimeError(said))
    assert error.what.startswith("loading failed: out of memory")
    assert error.fix == LESS
    for noise in ("[ONNXRuntimeError]", "/onnxruntime_src"):
        assert noise not in error.what


def test_memory_that_python_lacks_is_memory_too() -> None:
    assert told(MemoryError()).fix == LESS


def test_memory_that_numpy_lacks_is_memory_too() -> None:
    np = pytest.importorskip("numpy")
    with pytest.raises(GenerationFailed) as caught, translated("generating", where="x"):
        np.zeros(2**58)
    assert caught.value.fix == LESS


def test_everything_else_keeps_the_fix_of_its_place() -> None:
    assert told(RuntimeError("\x1b[1;31mno such kernel.\x1b[m")).fix == "verify"
    assert "no such kernel" in told(RuntimeError("no such kernel")).what


def test_an_endless_message_is_cut() -> None:
    assert len(told(RuntimeError("x" * 5000)).what) < 500


@pytest.mark.parametrize(
    "mine",
    [
        PlacementError("elsewhere"), AttributeError("a"), TypeError("t"), KeyError("k"),
        AssertionError("not so"), IndexError("i"), ValueError("v"), NotImplementedError("n"),
        RecursionError("deep"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_our_own_errors_and_mistakes_pass_through(mine: Exception) -> None:
    with pytest.raises(type(mine)) as caught, translated("loading", where="x"):
        raise mine
    assert caught.value is mine


def test_what_a_binding_raises_for_our_wrong_call_passes_through(tmp_path: Path) -> None:
    session = open_session(relu(tmp_path))
    with pytest.raises(TypeError), translated("loading", where="x"):
        session.get_session_options().intra_op_num_threads = "two"


def test_onnxruntimes_own_exceptions_are_told(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    session = open_session(relu(tmp_path))
    with pytest.raises(GenerationFailed, match="invalid dimensions"), translated("x", where="x"):
        session.run(None, {"x": np.zeros((1, 5), np.float32)})
    binding = session.io_binding()
    with pytest.raises(GenerationFailed, match="At least one output"), translated("x", where="x"):
        session.run_with_iobinding(binding)


def test_onnxruntime_genais_exceptions_are_told(tmp_path: Path) -> None:
    genai = pytest.importorskip("onnxruntime_genai")
    with pytest.raises(GenerationFailed, match="Error opening"), translated("x", where="x"):
        genai.Config(str(tmp_path))


def test_onnxruntimes_own_words_when_memory_runs_out(tmp_path: Path) -> None:
    """A tensor that no machine holds, of four times 2^46 bytes."""
    onnx = pytest.importorskip("onnx")
    shape = onnx.helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, [1])
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n"])
    node = onnx.helper.make_node("ConstantOfShape", ["shape"], ["out"])
    opset = [onnx.helper.make_opsetid("", 15)]
    graph = onnx.helper.make_graph([node], "huge", [shape], [out])
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(model, str(tmp_path / "huge.onnx"))
    session = open_session(tmp_path / "huge.onnx")
    with pytest.raises(GenerationFailed) as caught, translated("generating", where="CPU"):
        session.run(None, {"shape": [2**46]})
    assert caught.value.fix == LESS


@pytest.mark.parametrize(("left", "says"), [(0, "data"), (1000, "out of bounds")])
def test_weights_that_are_missing_or_cut_short_are_told(
    tmp_path: Path, left: int, says: str
) -> None:
    """A bundle's own check comes first; this is what happens to files that change after it."""
    onnx = pytest.importorskip("onnx")
    np = pytest.importorskip("numpy")
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 64])
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "cut", [x], [y], [weight])
    opset = [onnx.helper.make_opsetid("", 15)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    file = tmp_path / "cut.onnx"
    onnx.save(model, str(file), save_as_external_data=True, location="data", size_threshold=0)
    data = tmp_path / "data"
    data.write_bytes(data.read_bytes()[:left])
    if not left:
        data.unlink()
    with pytest.raises(GenerationFailed) as caught, translated("loading", where="x", fix="verify"):
        open_session(file)
    assert caught.value.fix == "verify"
    assert says in caught.value.what
    assert ".cc:" not in caught.value.what
