"""transformers' own models run on a simulated accelerator, and say what they say on the CPU."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy import models
from qdeploy.backends.torch.simulated.device import activate, state

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[parity]")

NEW_TOKENS = 12
PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", models.EMBEDDED)
def test_greedy_tokens_equal_the_cpus(name: str, attention: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        models.path(name), dtype=torch.float32, local_files_only=True,
        attn_implementation=attention,
    ).eval()  # fmt: skip
    wanted = generate(model)
    other, device = activate("ascend")
    model.to(device)
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device for tensor in tensors} == {device}
    operators, others = state(device).operators, state(other).operators
    operators.clear()
    others.clear()
    assert generate(model) == wanted
    assert operators["aten::mm"] + operators["aten::addmm"] > 0
    assert not others


def generate(model: Any) -> list[int]:
    ids = torch.tensor([PROMPT], device=model.device)
    tokens = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
    )
    return list(tokens[0].tolist())
