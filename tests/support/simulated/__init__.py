"""Calls of vendors' operators on simulated devices: right ones, refused ones, other chips.

case     a call, and how it is made
numbers  tensors to call with
gpu      operators of CUDA and HIP devices
ascend   operators of Ascend: those of ascend_products and ascend_layers
"""
