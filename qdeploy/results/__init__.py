"""Results files: written by bench, eval, doctor and matrix, read by report and compare.

A file contains one machine and a list of results of any kind. Every result states what is needed to
judge it: artifact, environment, evidence and conditions. A report takes the files of any number of
machines.
"""

from qdeploy.results.collection import Collection, collect_results
from qdeploy.results.conditions import Conditions
from qdeploy.results.file import (
    make_results,
    parse_results,
    read_results,
    results_schema,
    write_results,
)
from qdeploy.results.load import Histogram, Load, LoadProcess, LoadSample, Percentiles
from qdeploy.results.model import (
    Bench,
    Diagnosis,
    Process,
    Result,
    Results,
    Sample,
    Spread,
)
from qdeploy.results.origin import artifact_of, environment_of
from qdeploy.results.quality import (
    Cosine,
    Divergence,
    EncodingEval,
    Eval,
    KlBlock,
    ScoreDifference,
)
from qdeploy.results.subject import Artifact, Environment, Machine

__all__ = [
    "Artifact",
    "Bench",
    "Collection",
    "Conditions",
    "Cosine",
    "Diagnosis",
    "Divergence",
    "EncodingEval",
    "Environment",
    "Eval",
    "Histogram",
    "KlBlock",
    "Load",
    "LoadProcess",
    "LoadSample",
    "Machine",
    "Percentiles",
    "Process",
    "Result",
    "Results",
    "Sample",
    "ScoreDifference",
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
