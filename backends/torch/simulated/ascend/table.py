"""Operators of Ascend, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qdeploy.backends.torch.simulated.ascend import (
    attention,
    elementwise,
    grouped,
    int8,
    packing,
    weight_only,
)
from qdeploy.backends.torch.simulated.ascend.schemas import NAMESPACE, SCHEMAS

KERNELS: dict[str, Callable[..., Any]] = {
    f"{NAMESPACE}::{packing.PACK}": packing.convert_weight_to_int4pack,
    f"{NAMESPACE}::{weight_only.PRODUCT}": weight_only.weight_quant_batchmatmul,
    f"{NAMESPACE}::{int8.ROUND}": int8.dynamic_quant,
    f"{NAMESPACE}::{int8.QUANTIZE}": int8.quantize,
    f"{NAMESPACE}::{int8.PRODUCT}": int8.quant_matmul,
    f"{NAMESPACE}::{grouped.PRODUCT}": grouped.grouped_matmul,
    f"{NAMESPACE}::{elementwise.NORM}": elementwise.rms_norm,
    f"{NAMESPACE}::{elementwise.ACTIVATION}": elementwise.swiglu,
    f"{NAMESPACE}::{elementwise.ROTATION}": elementwise.rotary_mul,
    f"{NAMESPACE}::{attention.ATTENTION}": attention.fused_infer_attention_score,
}

__all__ = ["KERNELS", "NAMESPACE", "SCHEMAS"]
