"""Model families: one file and one row of `table` each.

A family states what its `config.json` holds and how its graph is built. The tensors of a
checkpoint, the exported graphs and the float reference follow from that one description.
"""
