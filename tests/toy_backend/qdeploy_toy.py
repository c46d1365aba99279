"""A complete backend for dense Qwen3 in NumPy, and an exporter for it."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import deserialize

from qdeploy import interface as api
from qdeploy.bundle import Bundle
from qdeploy.errors import Refusal
from qdeploy.planning.formats import Format
from qdeploy.planning.plan import Plan
from qdeploy.targets import CPU, Evidence, Target

Array = NDArray[np.float32]
Cache = list[tuple[Array, Array]]  # keys and values of each layer, [kv heads, T, head_dim]
TOY = Format("toy", files={"weights": "*.safetensors"})


class ToyExporter(api.Exporter):
    """Copies the weight files unchanged."""

    name, formats = "toy", (TOY.name,)

    def why_not(self, plan: Plan) -> Refusal | None:
        quantized = plan.linear.dtype != "fp16"
        return Refusal("it does not quantize", "use fp16 weights") if quantized else None

    def peak_memory_bytes(self, plan: Plan) -> int:
        return 2**20

    def export(self, plan: Plan, folder: Path, progress: api.Progress) -> None:
        progress.stage("copying weights")
        for file in plan.checkpoint.weight_files():
            shutil.copyfile(plan.checkpoint.folder / file, folder / file)


class ToyBackend(api.Backend):
    name, formats, targets = "toy", (TOY.name,), (CPU,)

    def devices(self, target: Target, *, simulate: bool = False) -> list[api.Device]:
        return [api.Device("numpy", platform.processor() or platform.machine(), CPU.name)]

    def why_not(self, plan: Plan) -> str | None:
        return "it runs dense models only" if plan.checkpoint.config.is_moe else None

    def load(self, bundle: Bundle, device: api.Device, options: api.LoadOptions) -> api.Session:
        model = bundle.manifest.model
        limits = api.Limits(options.context or model.context_length, model.vocab_size)
        return ToySession(bundle, limits)


class ToySession(api.Session):
    def __init__(self, bundle: Bundle, limits: api.Limits) -> None:
        super().__init__(limits, device="numpy")
        self._config: dict[str, Any] = json.loads((bundle.path / "config.json").read_text())
        self._w: dict[str, Array] = {}
        for file in bundle.path.glob("*.safetensors"):
            for name, tensor in deserialize(file.read_bytes()):  # type: ignore[no-untyped-call]
                bits = np.frombuffer(tensor["data"], np.uint16).astype(np.uint32) << 16
                self._w[name] = bits.view(np.float32).reshape(tensor["shape"])  # was bfloat16

    def placement(self) -> api.Placement:
        return api.Placement(("numpy",), Evidence.DEVICE, "NumPy computes on the CPU only")

    def _close(self) -> None:
        self._w = {}

    def _score(self, token_ids: Sequence[int]) -> Array:
        return self._forward(list(token_ids), [])

    def _generate(self, request: api.Request) -> Generator[api.Token, None, None]:
        cache: Cache = []
        random = np.random.default_rng(request.sampling.seed)
        feed = list(request.prompt_ids)
        process = api.LogitsProcessor(request.sampling, request.prompt_ids)
        for _ in range(request.max_new_tokens):
            token = _sample(process(self._forward(feed, cache)[-1]), request.sampling, random)
            process.append(token)
            yield api.Token(token, time.perf_counter())
            feed = [token]

    def _forward(self, ids: list[int], cache: Cache) -> Array:
        c, w = self._config, self._w
        x = w["model.embed_tokens.weight"][ids]
        past = cache[0][0].shape[1] if cache else 0
        for n in range(c["num_hidden_layers"]):
            p = f"model.layers.{n}."
            x = x + self._attention(p, self._norm(x, p + "input_layernorm"), n, past, cache)
            h = self._norm(x, p + "post_attention_layernorm")
            x = x + self._mlp(p + "mlp.", h)
        head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
        return self._norm(x, "model.norm") @ head.T

    def _norm(self, x: Array, name: str) -> Array:
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + self._config["rms_norm_eps"])
        return np.asarray(x / scale * self._w[name + ".weight"])

    def _attention(self, p: str, x: Array, n: int, past: int, cache: Cache) -> Array:
        c, w, p = self._config, self._w, p + "self_attn."
        t, d = len(x), c["head_dim"]
        q, k, v = ((x @ w[f"{p}{s}_proj.weight"].T).reshape(t, -1, d) for s in "qkv")
        angle = np.outer(past + np.arange(t), c["rope_theta"] ** (-np.arange(0, d, 2) / d))
        q, k = (_rope(self._norm(a, f"{p}{s}_norm"), angle) for a, s in ((q, "q"), (k, "k")))
        k, v = k.swapaxes(0, 1), v.swapaxes(0, 1)
        if past:
            k, v = (np.concatenate(pair, 1) for pair in zip(cache[n], (k, v), strict=True))
        cache[n : n + 1] = [(k, v)]
        repeat = q.shape[1] // len(k)
        scores = np.asarray(q.swapaxes(0, 1) @ k.repeat(repeat, 0).swapaxes(1, 2), np.float32)
        scores += np.triu(np.full(scores.shape[1:], -1e30, np.float32), 1 + past)
        mixed = _softmax(scores / np.float32(d**0.5)) @ v.repeat(repeat, 0)
        return mixed.swapaxes(0, 1).reshape(t, -1) @ w[p + "o_proj.weight"].T

    def _mlp(self, p: str, x: Array) -> Array:
        gate, up, down = (self._w[f"{p}{s}_proj.weight"].T for s in ("gate", "up", "down"))
        g = x @ gate
        return np.asarray((g / (1 + np.exp(-g)) * (x @ up)) @ down)


def _rope(x: Array, angle: NDArray[np.float64]) -> Array:
    a, b = np.split(x, 2, -1)
    cos, sin = (f(angle)[:, None].astype(np.float32) for f in (np.cos, np.sin))
    return np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _sample(logits: Array, how: api.Sampling, random: np.random.Generator) -> int:
    if how.greedy:
        return int(logits.argmax())
    order = np.argsort(-logits)[: how.top_k or None]
    p = _softmax(logits[order] / how.temperature)
    keep = np.cumsum(p) - p < how.top_p
    return int(random.choice(order[keep], p=p[keep] / p[keep].sum()))
