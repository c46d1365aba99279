"""Results: what bench, eval, doctor and matrix write, and what report and compare read.

A file holds one machine and a list of results of any kind. Every result carries all that is needed
to judge it: what ran, where, with which evidence, under which conditions. Results of different
machines are merged by putting their files side by side.

model       what a file says
origin      what ran and where, told of a bundle and its session
file        making, reading and writing one
collection  one that a command adds to
"""

from qdeploy.results.collection import Collection, collect
from qdeploy.results.file import make, parse, read, schema, write
from qdeploy.results.model import (
    Bench,
    Conditions,
    Diagnosis,
    Divergence,
    Eval,
    Machine,
    Process,
    Result,
    Results,
    Sample,
    Spread,
    Subject,
    Where,
)
from qdeploy.results.origin import subject, where

__all__ = [
    "Bench", "Collection", "Conditions", "Diagnosis", "Divergence", "Eval", "Machine", "Process",
    "Result", "Results", "Sample", "Spread", "Subject", "Where", "collect", "make", "parse",
    "read", "schema", "subject", "where", "write",
]  # fmt: skip
