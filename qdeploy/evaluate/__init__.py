"""Quality of a bundle compared with a reference: what `qdeploy eval` measures.

A bundle and its reference, the float checkpoint or another bundle, score the same passages. The
figures are compared with the limits of the bundle's profile, the quality gate.

text        texts to score: shipped ones of six kinds, or a file
sentences   sentences of a text, for models that embed or rerank
reference   the float checkpoint, with cached results, or another bundle
evaluation  from a bundle and a reference to results and the limits they are held to
encoding    the same for bundles that embed or rerank
match       checks that a bundle and its reference are of the same model
original    whether a checkpoint can be the float original of a quantized one
divergence  KL divergence, top-1 agreement and perplexity of two models on one text
interval    95% intervals of a mean KL divergence and of the difference of two
change      whether two results differ in KL by more than their intervals
ranking     cosines of vectors, differences of scores, and the order of documents
greedy      length of the common prefix of both models' greedy decoding
heldout     exact match on held-out questions
measure     measures all of these for one text
gate        the quality gate
record      the result for a results file
golden      golden logits of the embedded models, for doctor and the tests
logits      log-probabilities
"""
