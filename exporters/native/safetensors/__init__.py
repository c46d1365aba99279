"""The `safetensors` format: a model directory as transformers and vLLM load it.

Quantized weights are stored as the compressed-tensors library stores them, and
`quantization_config` in `config.json` says which module has which form.
"""
