"""Kernels that Huawei's torch_npu has for Ascend NPUs.

    weight_only   `npu_weight_quant_batchmatmul`: weights of 4 or 8 bits, float inputs
    int8          `npu_dynamic_quant` and `npu_quant_matmul`: int8 weights and inputs
    experts       `npu_grouped_matmul`: all experts of a layer in one product

Limits are those of `_op_plugin_docs.py` in the wheel of torch_npu 2.14.0, by operator; which
products have an operator is the accelerator's to check. Weights of 4 bits are packed by the
vendor's own operator: the order of its bits is not documented.
"""
