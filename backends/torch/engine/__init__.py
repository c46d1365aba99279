"""The forward of a model on torch: weights, cache, and the steps between them."""
