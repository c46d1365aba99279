"""Bundles on the Hugging Face hub: repositories that hold a manifest."""

from __future__ import annotations

import glob
from pathlib import Path

from qdeploy.bundle import MANIFEST, read_manifest
from qdeploy.checkpoint.front_matter import CARD
from qdeploy.checkpoint.hub_errors import explain


def download(hub_id: str, *, must_know: bool) -> Path | None:
    """Download the bundle *hub_id* into the hub's cache, and return its folder.

    Only the files that its manifest lists, and the card, are downloaded.

    Args:
        hub_id: ORGANIZATION/NAME.
        must_know: whether a hub that cannot say what *hub_id* is is an error.

    Returns:
        None where the repository has no manifest, so is no bundle. Also where the hub cannot be
        reached, unless *must_know*.

    Raises:
        BundleError: the manifest is malformed.
        CheckpointError: there is no such repository, or it may not be read.
        HubError: the hub could not be reached.
    """
    from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        manifest = Path(hf_hub_download(hub_id, MANIFEST))
    except Exception as error:  # the HTTP library, and so its errors, differ between hub releases
        absent = isinstance(error, EntryNotFoundError)
        unreachable = isinstance(error, LocalEntryNotFoundError)  # which is one of the above, too
        # of a bundle in the cache the manifest is there, so what has a config is a checkpoint
        cached = isinstance(try_to_load_from_cache(hub_id, "config.json"), str)
        if (absent and not unreachable) or cached or not must_know:
            return None
        raise explain(hub_id, error) from error
    patterns = [glob.escape(name) for name in (MANIFEST, CARD, *read_manifest(manifest).files)]
    commit = manifest.parent.name
    try:
        return Path(snapshot_download(hub_id, revision=commit, allow_patterns=patterns))
    except Exception as error:
        raise explain(hub_id, error) from error
