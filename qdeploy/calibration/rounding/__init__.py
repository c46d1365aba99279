"""Rounds one linear layer, given the moments of its inputs.

linear    a linear layer: its moments, the target of its rows, the result
factor    the damped second moments of the inputs as a product of triangular matrices
grid      scales and zero points by search, weighted by the inputs
feedback  codes column by column, each making up for the errors of those before
refine    scales again for given codes, and codes again for given scales
"""
