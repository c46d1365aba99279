"""ONNX bundles on ONNX Runtime's CPU provider, pass by pass, for tests that need real numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.planning.formats import ONNX_MASKED


def open_session(file: Path) -> Any:
    """Return an InferenceSession on the CPU. A warning that it prints fails the test."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def operators(file: Path) -> set[tuple[str, str]]:
    """Return (domain, kind) of every operator of a graph."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(file), load_external_data=False).graph
    return {(node.domain, node.op_type) for node in graph.node}


def relu(folder: Path) -> Path:
    """A model of one operator, from x [1, 4] to y."""
    onnx = pytest.importorskip("onnx")
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 4]) for n in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    opset = [onnx.helper.make_opsetid("", 15)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


class DynamicShapeModel:
    """A model of the format `onnx` and its cache."""

    def __init__(self, folder: Path, file: str = "score.onnx") -> None:
        self._session = open_session(folder / file)
        self._caches = [i for i in self._session.get_inputs() if i.name.startswith("past")]
        self.reset()

    def reset(self) -> None:
        self._seen = 0
        self._batch = 0
        self._past: dict[str, NDArray[Any]] = {}

    def feed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits, float32 [B, L, V], of tokens [B, L] that continue the sequence."""
        batch, length = ids.shape
        if not self._past:
            self._past = {
                i.name: np.zeros((batch, i.shape[1], 0, i.shape[3]), _dtype(i))
                for i in self._caches
            }
        self._seen += length
        inputs = {"input_ids": ids, "attention_mask": np.ones((batch, self._seen), np.int64)}
        names = [name.replace("past_key_values", "present") for name in self._past]
        logits, *present = self._session.run(["logits", *names], inputs | self._past)
        self._past = dict(zip(self._past, present, strict=True))
        return np.asarray(logits, np.float32)


class StaticShapeModel:
    """A model of the format `onnx-static` and its cache."""

    def __init__(self, folder: Path) -> None:
        self._decode, self._prefill = (
            open_session(folder / f"{n}.onnx") for n in ("decode", "prefill")
        )
        inputs = self._prefill.get_inputs()
        self.chunk = inputs[0].shape[1]
        self._bias = next(i for i in inputs if i.name == "attention_bias")
        self.context = self._bias.shape[3]
        self._caches = [i for i in inputs if i.name.startswith("past")]
        self.reset()

    def reset(self) -> None:
        self._seen = 0
        self._past = {i.name: np.zeros(i.shape, _dtype(i)) for i in self._caches}

    def feed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits, float32 [1, L, V], of tokens [1, L] that continue the sequence."""
        found = []
        left = ids[0].tolist()
        while left:
            if len(left) == 1:
                found.append(self._step(self._decode, left, 1))
                left = []
            else:
                found.append(self._step(self._prefill, left[: self.chunk], self.chunk))
                left = left[self.chunk :]
        return np.concatenate(found)[None]

    def _step(self, session: Any, tokens: list[int], width: int) -> NDArray[np.float32]:
        ids = np.zeros((1, width), np.int64)
        ids[0, : len(tokens)] = tokens
        positions = np.arange(self._seen, self._seen + width)
        assert positions[-1] < self.context, "the test's prompt is too long for this simple loop"
        later = np.arange(self.context)[None] > positions[:, None]
        bias = np.where(later, ONNX_MASKED, 0).astype(_dtype(self._bias))[None, None]
        names = [name.replace("past_key_values", "present") for name in self._past]
        inputs = {"input_ids": ids, "position_ids": positions[None], "attention_bias": bias}
        logits, *present = session.run(["logits", *names], inputs | self._past)
        self._past = dict(zip(self._past, present, strict=True))
        self._seen += len(tokens)
        return np.asarray(logits[0, : len(tokens)], np.float32)


def _dtype(value: Any) -> np.dtype[Any]:
    return np.dtype({"tensor(float)": "float32", "tensor(float16)": "float16"}[value.type])
