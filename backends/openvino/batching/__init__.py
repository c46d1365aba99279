"""Many requests at once: openvino-genai's ContinuousBatchingPipeline, in a process of its own.

    cache       how many blocks of key-value cache the pipeline gets
    engine      the process: steps the pipeline, and sends each request's tokens
    grammar     compiles JSON schemas beside the pipeline's steps
    messages    what the two processes tell each other
    connection  the session's end of it: sends requests, and sorts the tokens that come
    session     a session for as many threads as requests

`ContinuousBatchingPipeline.step` keeps the interpreter's lock while it computes (2026.4.1), which
for a prompt takes seconds. In the session's process, nothing else could run then: no other thread
would read its tokens, and no server would answer.
"""
