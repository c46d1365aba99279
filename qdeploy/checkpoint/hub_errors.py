"""Errors of the Hugging Face hub's library: the cause that can be seen, and what helps with it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from qdeploy.checkpoint.recognition.nearby import near_folder
from qdeploy.errors import CheckpointError, HubError, QdeployError

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
FULL = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
ON_DISK = "give the folder of a checkpoint on disk"


def explain(hub_id: str, error: Exception) -> QdeployError:
    """Return the error for *error*, raised while the model *hub_id* was downloaded.

    Where the organization is a folder here, the id may be a misspelt path, so the fix names the
    folder that is most like it.
    """
    told = _explain(hub_id, error)
    path = Path(hub_id)
    if path.parent.is_dir() and (near := near_folder(path)):
        fix = f"did you mean the folder {os.fspath(near)}? Otherwise {told.fix}"
        return type(told)(told.what, where=hub_id, fix=fix)
    return told


def _explain(hub_id: str, error: Exception) -> QdeployError:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    causes = list(_causes(error))
    if isinstance(error, HFValidationError):
        return CheckpointError(
            f"no directory here and no hub id ({error})",
            where=hub_id,
            fix="give ORGANIZATION/NAME, e.g. Qwen/Qwen3-0.6B, or the path of a folder",
        )
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            return _refused(hub_id, cause)
    what, fix = _unreachable(causes)
    return HubError(what, where=hub_id, fix=fix)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _refused(hub_id: str, error: Exception) -> QdeployError:
    """The error for a hub that answered, with a refusal."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import DisabledRepoError, GatedRepoError, RepositoryNotFoundError

    token = get_token()
    login = "with a token of an account that may read it" if token else "after: hf auth login"
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{hub_id}"
        return CheckpointError(
            "the hub wants you to accept this model's terms",
            where=hub_id,
            fix=f"accept them on {page}, and run this again {login}",
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            "no directory here and no such model on the hub",
            where=hub_id,
            fix=f"check the spelling; a private model needs this run {login}",
        )
    if isinstance(error, DisabledRepoError):
        return CheckpointError("the hub has disabled this model", where=hub_id, fix=ON_DISK)
    status = getattr(getattr(error, "response", None), "status_code", None)
    what, fix = _of_status(status, has_token=token is not None)
    return HubError(what, where=hub_id, fix=fix)


def _of_status(status: int | None, *, has_token: bool) -> tuple[str, str]:
    """What an HTTP status of the hub means, and what helps."""
    said = f"HTTP {status}" if status else "no status"
    if status in (401, 403):
        where = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the token that hf auth login stored"
        what = f"the hub does not take your token ({said})" if has_token else f"{said}: no access"
        return what, (f"replace {where}" if has_token else "run this again after: hf auth login")
    if status == 429:
        more = "" if has_token else ", or run this again after: hf auth login, which allows more"
        return f"the hub has had too many requests ({said})", f"wait some minutes{more}"
    if status is not None and status >= 500:
        return (
            f"the model hub has a fault ({said})",
            f"try again later (https://status.huggingface.co), or {ON_DISK}",
        )
    return f"the model hub could not be reached ({said})", _check_network()


def _unreachable(causes: list[BaseException]) -> tuple[str, str]:
    """What keeps this machine from the hub or from the hub's cache, and what helps."""
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    names = [type(cause).__name__ for cause in causes]
    codes = [cause.errno for cause in causes if isinstance(cause, OSError)]
    if "OfflineModeIsEnabled" in names or constants.HF_HUB_OFFLINE:
        variable = next((name for name in OFFLINE if os.environ.get(name)), OFFLINE[0])
        return (
            f"{variable} is set, and the model is not in the hub's cache, {cache}",
            f"run this again without {variable}, to download it, or {ON_DISK}",
        )
    if any(code in FULL for code in codes):
        return "the disk is full", "free space, or set HF_HOME to another disk"
    if any(code in READ_ONLY for code in codes):
        return (
            f"the hub's cache, {cache}, cannot be written",
            "set HF_HOME to a folder that you can write",
        )
    if "ProxyError" in names:
        variable = next((name for name in PROXIES if os.environ.get(name)), PROXIES[0])
        return (
            "the proxy does not let this machine reach the model hub",
            f"correct or unset {variable}, or {ON_DISK}",
        )
    if any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in causes):
        return (
            "the model hub's certificate is not one that this machine trusts",
            "set SSL_CERT_FILE to the certificates of your network's proxy",
        )
    root = next((name for name in names if name != "LocalEntryNotFoundError"), names[0])
    return f"the model hub could not be reached ({root})", _check_network()


def _check_network() -> str:
    own = os.environ.get("HF_ENDPOINT")
    check = "check HF_ENDPOINT, which is set, and the network" if own else "check the network"
    return f"{check} or proxy, or {ON_DISK}"
