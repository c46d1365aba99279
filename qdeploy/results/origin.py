"""Describe a bundle and the environment that a session runs it in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qdeploy.results.subject import Artifact, Environment
from qdeploy.system import info

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle, Manifest
    from qdeploy.deploy.run import Choice
    from qdeploy.interface.loaded import Loaded

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    "TBB_NUM_THREADS", "OV_NUM_THREADS",
)  # fmt: skip
"""Environment variables from which runtimes take thread settings."""


AS_SERVED = "as served"
"""The precision of weights that a server holds: the bundle gave the text files only."""


def artifact_of(bundle: Bundle, *, served: bool = False) -> Artifact:
    """Describe a bundle, or one of whose model a server holds its own weights."""
    manifest = bundle.manifest
    model = manifest.model
    linear = manifest.profile.linear_for(model.parameters, moe=model.experts > 0)
    return Artifact(
        model=model.name,
        checkpoint_digest=model.digest,
        parameters=model.parameters,
        profile=manifest.profile.name,
        precision=AS_SERVED if served else str(linear),
        format=manifest.format,
        exporter=manifest.exporter,
        bundle_digest=bundle.digest,
        bundle_bytes=bundle.nbytes,
        bytes_per_token=None if served else manifest.plan.get("bytes_per_token"),
        calibrated=not served and is_calibrated(manifest),
    )


def is_calibrated(manifest: Manifest) -> bool:
    """Whether the bundle's integer codes were chosen with a text."""
    return manifest.calibration is not None


def environment_of(bundle: Bundle, choice: Choice, session: Loaded) -> Environment:
    """Describe where *session*, of this bundle and choice, really runs, and with which software."""
    placement = session.placement()
    variables = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return Environment(
        target=choice.target.name,
        backend=choice.backend.name,
        device=choice.device_names,
        evidence=placement.evidence,
        driver=choice.device.driver,
        placement=placement.as_dict(),
        # a backend lists all distributions that provide its runtime; few are installed
        versions=info.versions(choice.backend.requires),
        properties={**bundle.manifest.profile.runtime.properties, **variables},
    )
