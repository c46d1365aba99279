"""Loaded models: what `qdeploy.load` returns, a class for each task.

model      what all of them have
answers    what they take and return
chat       models that generate
encoder    what the other two have in common
embedding  models that embed
reranking  models that rerank
"""
