"""Compiles JSON schemas beside the pipeline's steps.

The pipeline compiles a schema in the step that makes the request's first token. That may take a
minute (a `maxLength` of 200 with a vocabulary of 151,936: 43 s), in which no request goes on; and
one that it cannot compile leaves it unusable for all of them (2026.4.1). So each new schema first
goes through a pipeline whose model has no layers, on a thread. The two pipelines share a tokenizer,
which keeps what was compiled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qdeploy.backends.openvino.errors import essence
from qdeploy.backends.openvino.request import generation_config, token_tensor
from qdeploy.backends.openvino.runtime import Runtime
from qdeploy.interface import Request

ONE_TOKEN = (0,)


class Compiler:
    """Compiles one schema at a time.

    Args:
        tokenizer: the pipeline's own.
        vocab_size: that of the pipeline's logits.
        done: called on the compiler's thread with a schema and what is wrong with it, or None.
    """

    def __init__(
        self,
        runtime: Runtime,
        tokenizer: Any,
        vocab_size: int,
        done: Callable[[str, str | None], None],
    ) -> None:
        self._runtime, self._tokenizer, self._vocab_size = runtime, tokenizer, vocab_size
        self._done = done
        self._pipeline: Any = None
        self.is_running = False

    def start(self, request: Request) -> None:
        """Compile the request's schema, for its stop tokens."""
        self.is_running = True
        threading.Thread(target=self._compile, args=(request,), daemon=True).start()

    def _compile(self, request: Request) -> None:
        wrong = None
        try:
            if self._pipeline is None:
                self._pipeline = empty_pipeline(self._runtime, self._tokenizer, self._vocab_size)
            config = generation_config(self._runtime, request)
            config.max_new_tokens = 1
            self._pipeline.generate(token_tensor(self._runtime, ONE_TOKEN), config)
        except Exception as error:  # whatever it is, it is about this request alone
            wrong = essence(error)
        self.is_running = False
        self._done(request.json_schema or "", wrong)


def empty_pipeline(runtime: Runtime, tokenizer: Any, vocab_size: int) -> Any:
    """Return an LLMPipeline whose model has no layers: all of its logits are 0."""
    import numpy as np

    ops = import_module("openvino.opset13")
    dims = {"input_ids": 2, "attention_mask": 2, "position_ids": 2, "beam_idx": 1}
    inputs = {
        name: ops.parameter([-1] * rank, np.int32 if name == "beam_idx" else np.int64)
        for name, rank in dims.items()
    }
    shape = ops.concat([ops.shape_of(inputs["input_ids"]), np.array([vocab_size])], 0)
    logits = ops.broadcast(ops.constant(0, np.float32), shape)
    for name, node in {**inputs, "logits": logits}.items():
        node.output(0).get_tensor().set_names({name})
    model = runtime.ov.Model([logits], list(inputs.values()))
    with TemporaryDirectory() as folder:
        xml, weights = Path(folder, "model.xml"), Path(folder, "model.bin")
        runtime.ov.serialize(model, xml, weights)
        return runtime.genai.LLMPipeline(
            xml.read_text(encoding="utf-8"),
            runtime.ov.Tensor(np.fromfile(weights, np.uint8)),
            tokenizer,
            "CPU",
            runtime.genai.GenerationConfig(),
            ATTENTION_BACKEND="SDPA",
        )
