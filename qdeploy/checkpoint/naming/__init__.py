"""From the tensors that files store to the weights of an architecture, by its names.

find          each weight with its source
module_names  under which other names a module is stored
stacks        experts that are stored as one tensor
leftovers     tensors that nothing reads, with the reason
tying         an lm_head that is the embedding, or is not
inventory     all of it for one checkpoint
"""
