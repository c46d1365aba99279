"""Any OpenAI-compatible server that runs already, as a device named by its address.

The bundle gives the tokenizer and the chat template, the server the model: token ids go there and
come back, as with every other backend. Chats with servers that take text only need no bundle:
`qdeploy.deploy.remote`.
"""

from qdeploy.backends.endpoint.backend import EndpointBackend

__all__ = ["EndpointBackend"]
