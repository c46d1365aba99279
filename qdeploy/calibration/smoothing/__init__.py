"""Smoothing: channels of a linear layer's inputs are scaled so that they are easier to round.

Where inputs are rounded to int8, a channel of large values takes the precision of all others
(SmoothQuant, arXiv:2211.10438). Each channel j of such inputs is divided by a factor, and column j
of the weights that read them is multiplied by it. What makes the inputs takes up the division: the
vector of a norm, or the rows of the linear layer whose output reaches them unmixed.

Factors are powers of two. Nothing but exponents change then, so the model of the smoothed floats is
the same as before, bit for bit, and rows that are quantized already keep their codes.

    sites    which weights make and which read the inputs of each linear layer
    planned  those of a plan whose inputs are rounded
    factors  the factors of a model, and its weights with them
    search   the factors of one site, by the predicted error of its outputs
"""
