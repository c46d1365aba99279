"""Model families: one file and one row of `table` each.

A family says what its `config.json` holds and how its graph is built. The tensors that a checkpoint
must have, the exported graphs and the float reference all follow from that one description.
"""
