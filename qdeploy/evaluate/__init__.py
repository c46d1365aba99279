"""How far a bundle's answers are from its reference's: what `qdeploy eval` measures.

text        what is scored: shipped prose, chats of the embedded models' tasks, or a file
forward     Qwen3 in NumPy, float32, layer by layer from the streamed checkpoint
reference   the float checkpoint, its results cached; or another bundle
divergence  KL divergence, top-1 agreement and perplexity of two models on one text
greedy      how many tokens greedy decoding of both has in common
heldout     held-out questions answered exactly
gate        what the profile allows
logits      log-probabilities
golden      shipped logits of the embedded models, for doctor and the tests
match       whether two references score the same text with the same vocabulary
measure     all of it together
record      the result that goes into a results file
"""
