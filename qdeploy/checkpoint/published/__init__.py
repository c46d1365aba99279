"""The Qwen3 models that are published: their names, configs and layouts, without a network.

names      hub ids and short names
catalogue  each as a checkpoint that plans are made for
layouts    how quantized ones are stored
"""
