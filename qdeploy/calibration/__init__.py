"""Codes, scales and zero points that fit what a layer reads, and not its weights alone.

run        all of it: texts, importance of tokens, codes
inputs     texts, and the importance of their tokens
store      the codes on the disk
codes      the weights of a plan, with these codes
cost       predicted time, memory and disk
record     what was done, for the manifest
report     how far it is
arrays     activations, in memory or in temporary files
folder     one process at a time in a folder of the cache

sensitivity  what each weight would lose in each precision
bits         the precisions that lose the least within a plan's limit
"""
