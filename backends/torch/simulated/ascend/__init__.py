"""Operators that Huawei's torch_npu adds for Ascend, on the CPU.

Schemas are the vendor's own. Each operator makes the checks that the vendor documents, by product:
`A2` (910B), `A3` (910C) and `310P`. A check is refused by the device's library with an error code;
here it is a sentence. What a device computes in a type of its own is computed in float32 here.

    schemas       the operators' schemas
    table         the operators by name
    products      what operators are documented for, and limits of all products
    types         types by number
    packing       int4 codes in int32, in an order of our own: the vendor does not document its own
    weight_only   float inputs, integer weights
    int8          int8 inputs, int8 weights
    grouped       rows in groups, a weight for each group
    elementwise   norm, activation and rotation
    attention     attention to a cache
    masks         what attention hides

Source, if no other is named: `_op_plugin_docs.py` in the wheel of torch_npu 2.14.0, by operator.
"""
