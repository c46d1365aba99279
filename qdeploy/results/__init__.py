"""Results: what bench, eval, doctor and matrix write, and what report and compare read.

A file holds one machine and a list of results of any kind. Every result carries all that is needed
to judge it: what ran, where, with which evidence, under which conditions. Results of different
machines are merged by putting their files side by side.

model       what a file says
origin      what ran and where, told of a bundle and its session
file        making, reading and writing one
collection  one that a command adds to
"""

from qdeploy.results.collection import Collection, collect_results
from qdeploy.results.file import (
    make_results,
    parse_results,
    read_results,
    results_schema,
    write_results,
)
from qdeploy.results.model import (
    Artifact,
    Bench,
    Conditions,
    Diagnosis,
    Divergence,
    Environment,
    Eval,
    Machine,
    Process,
    Result,
    Results,
    Sample,
    Spread,
)
from qdeploy.results.origin import artifact_of, environment_of

__all__ = [
    "Artifact",
    "Bench",
    "Collection",
    "Conditions",
    "Diagnosis",
    "Divergence",
    "Environment",
    "Eval",
    "Machine",
    "Process",
    "Result",
    "Results",
    "Sample",
    "Spread",
    "artifact_of",
    "collect_results",
    "environment_of",
    "make_results",
    "parse_results",
    "read_results",
    "results_schema",
    "write_results",
]  # fmt: skip
