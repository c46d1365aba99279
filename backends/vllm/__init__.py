"""vLLM on GPUs, NPUs and CPUs: a server in an environment of its own, which this process starts.

    backend     finds devices, says what it cannot run, starts a server for a bundle
    devices     the target's devices, by the drivers and by vLLM's environment
    errors      why a server did not start, in qdeploy's errors
    placement   where the work runs, by what the server says of itself
    runtime     what starts the server and talks to it
    session     a bundle on a server
    settings    the bundle's profile and the user's wishes as what is served

What is common to all ways to start vLLM is in `qdeploy.engines.vllm`.
"""

from qdeploy.backends.vllm.backend import VllmBackend

__all__ = ["VllmBackend"]
