"""The contracts: what a backend and an exporter are to the rest of qdeploy.

    device      a device, a load's options, and the proof of where the work ran
    loaded      what every loaded bundle has
    session     a loaded bundle that generates: requests in, tokens and logits out
    encoder     a loaded bundle that embeds or reranks: token ids in, vectors out
    sampling    how a request draws its tokens, and the penalties that change their logits
    sampler     draws them, where the runtime does not
    logprobs    log-probabilities of tokens, from logits
    schema      keeps an answer to a JSON schema, by masking logits
    backend     finds devices and loads bundles
    exporter    writes the files of a bundle
    peer        a library that runs bundles without qdeploy

A backend adapts one runtime. It is found through the entry-point group `qdeploy.backends`, an
exporter through `qdeploy.exporters`; the core imports neither in any other way. Importing a
backend's module must be cheap: its methods import the runtime.

Requests and results are token ids. The core (`qdeploy.generation`) does the tokenizing, the chat
template, the reasoning and the detokenizing, so that every backend gets the same ids.
"""

from __future__ import annotations

from qdeploy.interface.backend import Backend
from qdeploy.interface.device import Device, LoadOptions, Placement, Property
from qdeploy.interface.encoder import Encoder
from qdeploy.interface.exporter import SCRATCH, Exporter, Progress
from qdeploy.interface.peer import Peer, PeerRun
from qdeploy.interface.sampling import LogitsProcessor, Sampling
from qdeploy.interface.session import Limits, Request, Session, Token

__all__ = [
    "SCRATCH", "Backend", "Device", "Encoder", "Exporter", "Limits", "LoadOptions",
    "LogitsProcessor", "Peer", "PeerRun", "Placement", "Progress", "Property", "Request",
    "Sampling", "Session", "Token",
]  # fmt: skip
