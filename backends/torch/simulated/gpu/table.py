"""Operators of CUDA and HIP devices, by name. All are aten's, so there is none to define."""

from __future__ import annotations

from qdeploy.backends.torch.simulated.gpu import fp8, grouped, int4, int8

NAMESPACE = "aten"
SCHEMAS: tuple[str, ...] = ()
KERNELS = {
    f"{NAMESPACE}::{int4.PACK}": int4.convert_weight_to_int4pack,
    f"{NAMESPACE}::{int4.MULTIPLY}": int4.weight_int4pack_mm,
    f"{NAMESPACE}::{int8.WEIGHT_ONLY}": int8.weight_int8pack_mm,
    f"{NAMESPACE}::{int8.PRODUCT}": int8.int_mm,
    f"{NAMESPACE}::{fp8.PRODUCT}": fp8.scaled_mm,
    f"{NAMESPACE}::{grouped.PRODUCT}": grouped.grouped_mm,
}
