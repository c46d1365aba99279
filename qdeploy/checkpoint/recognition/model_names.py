"""What the name of a model means: an embedded model, a folder on disk, or a model of the hub.

People copy names from web pages, other tools and other systems. A spelling that can mean one model
only is that model; any other is refused with the name to give instead.
"""

from __future__ import annotations

import os
import re
import reprlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from qdeploy import models
from qdeploy.checkpoint.hub_cache import HUB_ID, hub_id_of, snapshot_id
from qdeploy.checkpoint.published.names import published_id, published_ids
from qdeploy.checkpoint.recognition import nearby
from qdeploy.checkpoint.recognition.recognize import unquantized, why_not_a_file
from qdeploy.errors import CheckpointError, did_you_mean

HUBS = ("huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com")
"""Hosts of the hub and of its public mirror; the host of HF_ENDPOINT is one as well."""
NO_MODELS = ("datasets", "spaces", "collections", "papers", "docs", "blog")
"""First parts of the paths of the hub's other pages."""
VIEWS = ("tree", "blob", "resolve", "raw", "commit", "commits")
"""What follows a model's id in the path of one of its pages, before a revision."""
MODELSCOPE = ("modelscope.cn", "www.modelscope.cn", "modelscope.ai", "www.modelscope.ai")
SHORT = reprlib.Repr()
SHORT.maxstring = 200  # a name may be a whole text that was given by mistake
QUOTES = " \t\r\n'\"`\u2018\u2019\u201c\u201d"
URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
SSH = re.compile(r"git@(?P<host>[\w.-]+):(?P<path>.+)")
TAGGED = re.compile(r"(?P<name>[\w./-]+):(?P<tag>[\w.-]+)")
REVISED = re.compile(rf"(?P<id>{HUB_ID.pattern})@(?P<revision>[\w./-]+)")


class Named(NamedTuple):
    """The model that a name means.

    Attributes:
        name: what the model is called: the name of an embedded model, a hub id, or the folder's.
        folder: where it is on disk; None for a model of the hub.
    """

    name: str
    folder: Path | None


def locate(model: str) -> Named:
    """Find out which model *model* names. Downloads nothing.

    Raises:
        CheckpointError: it names none, or something that is no model.
    """
    if model in models.EMBEDDED:
        return Named(model, models.path(model))
    folder = _expanded(model)  # os.path returns False for an invalid path; pathlib raises
    if os.path.isdir(folder):
        return _of_folder(Path(folder))
    if os.path.exists(folder):
        raise why_not_a_file(Path(folder))
    if _is_out_of_reach(folder):
        raise CheckpointError(
            "cannot be read (Permission denied)",
            where=model,
            fix="give your user permission to read it, e.g. with chmod or chown",
        )
    if hub_id := published_id(model):
        return Named(hub_id, None)
    if HUB_ID.fullmatch(model):
        return Named(model, None)
    if (meant := _respelled(model)) and meant != model:
        return locate(meant)
    raise _unknown(model)


def _expanded(path: str) -> str:
    """*path* with the user's home in place of `~`; as it is where no user can have that name."""
    try:
        return os.path.expanduser(path)
    except ValueError:
        return path


def _of_folder(folder: Path) -> Named:
    """The model in *folder*. A snapshot in the hub's cache has a hash as its name, and is no name.

    Raises:
        CheckpointError: the name is not UTF-8.
    """
    name = snapshot_id(folder) or folder.resolve().name
    try:
        name.encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            "the folder's name is not UTF-8 text", where=folder, fix="rename it"
        ) from None
    return Named(name, folder)


def _is_out_of_reach(path: str) -> bool:
    """Whether a parent directory denies access to *path*."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except (OSError, ValueError):  # the path does not exist or is invalid
        pass
    return False


def _respelled(model: str) -> str | None:
    """The plain name that *model* is another spelling of, or None.

    Raises:
        CheckpointError: the spelling asks for something that qdeploy does not do.
    """
    bare = model.strip(QUOTES)
    if bare != model:
        return bare
    if match := URL.fullmatch(model):
        return _of_url(model, match["scheme"].lower(), match["rest"])
    host, slash, path = model.partition("/")
    if slash and host.lower() in _hubs():
        return _of_hub_page(model, path)
    if (match := SSH.fullmatch(model)) and match["host"].lower() in _hubs():
        return _of_hub_page(model, match["path"])
    if hub_id := hub_id_of(model):
        return hub_id
    if HUB_ID.fullmatch(slashed := model.replace("\\", "/").rstrip("/")):
        return slashed
    if os.path.isdir(_expanded(slashed)):
        return slashed
    if match := REVISED.fullmatch(model):
        raise _of_revision(match["id"], match["revision"])
    if match := TAGGED.fullmatch(model):
        raise _of_tag(model, match["name"], match["tag"])
    return None


def _hubs() -> tuple[str, ...]:
    match = URL.fullmatch(os.environ.get("HF_ENDPOINT", ""))
    own = _host(match["rest"].partition("/")[0]) if match else None
    return (*HUBS, own) if own else HUBS


def _host(authority: str) -> str:
    """The host in what follows the `//` of an address: USER@HOST:PORT."""
    return authority.rpartition("@")[2].partition(":")[0].lower()


def _of_url(url: str, scheme: str, rest: str) -> str:
    if scheme == "hf":
        return _of_hub_page(url, rest.removeprefix("models/"))
    if scheme == "file" and "/" in rest:
        return unquote(rest[rest.index("/") :])
    host, _, path = rest.partition("/")
    host = _host(host)
    if host in _hubs():
        return _of_hub_page(url, path)
    match = re.match(rf"models/({HUB_ID.pattern})", path)
    if host in MODELSCOPE and match:
        hub_id, name = match[1], match[1].rpartition("/")[2]
        raise CheckpointError(
            "a page of ModelScope; qdeploy downloads from the Hugging Face hub",
            where=url,
            fix=f"modelscope download --model {hub_id} --local_dir {name}, and give {name}; or give"
            f" {hub_id} if the hub has it too",
        )
    raise CheckpointError(
        "an address that is no model's page on the Hugging Face hub",
        where=url,
        fix="give a hub id, e.g. Qwen/Qwen3-0.6B, or download it and give the folder",
    )


def _of_hub_page(page: str, path: str) -> str:
    """The hub id of a page of the hub, whose *path* follows the host."""
    parts = [unquote(part) for part in re.split(r"[?#]", path)[0].split("/") if part]
    if parts[:2] == ["api", "models"]:
        parts = parts[2:]
    if not parts or parts[0] in NO_MODELS or len(parts) < 2:
        raise CheckpointError(
            "a page of the hub that is no model's",
            where=page,
            fix="give the id of a model, ORGANIZATION/NAME, e.g. Qwen/Qwen3-0.6B",
        )
    name, _, revision = parts[1].removesuffix(".git").partition("@")
    name, colon, tag = name.partition(":")
    hub_id = f"{parts[0]}/{name}"
    if colon:
        raise _of_tag(page, hub_id, tag)
    rest = parts[2:]
    if not revision and len(rest) > 1 and rest[0] in VIEWS:
        revision, *rest = rest[1:]
    if revision == "refs":  # the only revisions with slashes of their own, as in refs/pr/1
        revision = "/".join([revision, *rest[:2]])
    if revision not in ("", "main", "HEAD"):
        raise _of_revision(hub_id, revision)
    return hub_id


def _of_revision(hub_id: str, revision: str) -> CheckpointError:
    name = hub_id.rpartition("/")[2]
    return CheckpointError(
        f"names the revision {revision!r}; qdeploy downloads the main one",
        where=hub_id,
        fix=f"hf download {hub_id} --revision {revision} --local-dir {name}, and give {name}",
    )


def _of_tag(model: str, name: str, tag: str) -> CheckpointError:
    """The error for a name with a tag, as Ollama and container registries use them."""
    parts = name.split("/")
    original, size = unquantized(parts[-1]), unquantized(tag)
    candidates = [size] if original == "qwen3" else [original]
    published = next((i for i in map(published_id, candidates) if i), None)
    meant = "/".join([parts[-2], original]) if parts[-2:-1] not in ([], ["library"]) else None
    example = published or meant or "Qwen/Qwen3-0.6B"
    return CheckpointError(
        "a name with a tag, as Ollama has them; the files behind it are not a checkpoint",
        where=model,
        fix=f"give the original's hub id{'' if published or meant else ', e.g.'} {example}",
    )


def _unknown(model: str) -> CheckpointError:
    """The error for a name that nothing has."""
    if os.sep in model or "\\" in model or model.startswith((".", "~")):
        path = Path(_expanded(model.replace("\\", "/")))
        what = f"no directory is called {SHORT.repr(model)}"
        return CheckpointError(what, fix=nearby.find_fix(path))
    what = f"no directory, embedded or published model, or hub id is called {SHORT.repr(model)}"
    if re.search(r"\s", model):
        return CheckpointError(what, fix="names have no spaces; a prompt comes after the model")
    return CheckpointError(what, fix=did_you_mean(model, [*models.EMBEDDED, *published_ids()]))
