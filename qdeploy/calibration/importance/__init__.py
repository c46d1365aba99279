"""How much each token counts: by the gradient of the model's own predictions.

importance  weights of tokens by linear layer
weighting   the same as calibration takes them, beside all tokens alike
energies    the pass up the model and down again
segments    a model's description as operations, cut into segments
operations  the operations
reverse     one segment in reverse
gradient    each operation in reverse
labels      tokens drawn from the model's predictions
"""
