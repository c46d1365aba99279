"""Experts of GPUs on simulated devices and on fake tensors."""

from __future__ import annotations

import pytest

from qdeploy.backends.torch.accelerators.cuda import Cuda
from qdeploy.backends.torch.kernels import grouped, stacks
from qdeploy.backends.torch.kernels.base import Form
from qdeploy.backends.torch.simulated.device import activate
from qdeploy.quantization.precision import Precision

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

from tests.support import experts  # noqa: E402
from tests.support.fake_cuda import fake_cuda  # noqa: E402

CUDA = Cuda("simulated", "sm_90")
FLOAT = Precision(dtype="fp16")
INT4 = Precision(dtype="int4", symmetric=True, group_size=32)
INT8 = Precision(dtype="int8", symmetric=True)
FP8 = Precision(dtype="fp8")


def form(precision: Precision) -> Form:
    return Form(0, 0, precision)


@pytest.mark.parametrize(
    ("precision", "at_a_time"),
    [(FLOAT, 12), (INT4, 12), (INT8, 12), (FP8, 12), (FLOAT, 5), (INT8, 1)],
    ids=str,
)
def test_any_routing(precision: Precision, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens and many, with experts in one slice or in several."""
    size = 2 * 3 * experts.INNER * experts.HIDDEN * at_a_time
    monkeypatch.setattr(grouped, "EXPERTS_AT_A_TIME", size)
    monkeypatch.setattr(stacks, "EXPERTS_AT_A_TIME", size)
    device = activate("cuda-sm90")[1]
    packed = experts.pack(CUDA, form(precision), lambda tensor: tensor.to(device))
    for name in experts.ROUTINGS:
        for tokens in (1, 3, 20):
            off = experts.largest_difference(packed, device, torch.bfloat16, tokens, name)
            assert off < 0.03, (name, tokens)


def test_the_same_tokens_give_the_same_output() -> None:
    """A token's choices are added up in their order, whatever else is in the pass."""
    device = activate("cuda-sm90")[0]
    layers = experts.pack(CUDA, form(FLOAT), lambda tensor: tensor.to(device)).layers
    x, chosen = torch.randn(40, experts.HIDDEN).bfloat16(), experts.routing(40, "any")
    weights = torch.rand(chosen.shape).bfloat16()
    first, again = (layers(x.to(device), chosen.to(device), weights.to(device)) for _ in range(2))
    assert torch.equal(first.cpu(), again.cpu())


@pytest.mark.parametrize("precision", [FLOAT, INT4, INT8, FP8], ids=str)
def test_fake_cuda_tensors(precision: Precision) -> None:
    """No value is read on the host, so a step can be captured."""
    with fake_cuda():
        packed = experts.pack(CUDA, form(precision), lambda tensor: tensor.to("cuda:0"))
        for tokens, top in ((1, 4), (9, 2), (300, 8)):
            x = torch.empty(tokens, experts.HIDDEN, dtype=torch.bfloat16, device="cuda:0")
            chosen = torch.zeros(tokens, top, dtype=torch.int64, device="cuda:0")
            made = packed.layers(x, chosen, x.new_ones(chosen.shape))
            assert (made.shape, made.dtype, made.device) == (x.shape, x.dtype, x.device)
