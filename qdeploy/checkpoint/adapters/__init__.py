"""Adapters: changes to the weights of a checkpoint that PEFT has saved.

lora  LoRA: a product of two small matrices is added to a weight
"""
