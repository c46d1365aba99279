"""Instruction sets that the user switched off for oneDNN, the CPU plugin's library of kernels.

`ONEDNN_MAX_CPU_ISA=AVX2` makes oneDNN build no kernel for a later instruction set. The plugin reads
the processor's own flags instead: it still chooses bfloat16 and dynamic quantization, for which
oneDNN then has no kernel, and the load fails ("could not create a primitive descriptor", 2026.4.1).
"""

from __future__ import annotations

from collections.abc import Mapping

from qdeploy.interface import Property

VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""oneDNN reads the first; the second is its older name."""
WITHOUT_DOT_PRODUCTS = frozenset({"SSE41", "AVX", "AVX2"})
WITHOUT_BF16 = WITHOUT_DOT_PRODUCTS | {
    "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
}  # fmt: skip


def limited_properties(environment: Mapping[str, str]) -> dict[str, Property]:
    """Plugin properties that keep to the instruction sets that *environment* allows oneDNN."""
    limit = next((environment[name] for name in VARIABLES if environment.get(name)), "").upper()
    properties: dict[str, Property] = {}
    if limit in WITHOUT_BF16:
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    if limit in WITHOUT_DOT_PRODUCTS:
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
    return properties
