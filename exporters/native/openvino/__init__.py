"""The OpenVINO format: a stateful graph, its weights, and the tokenizer as graphs."""
