"""The functions behind `import qdeploy`: plan, export, open and load.

The commands `export`, `plan`, `run`, `verify` and `bench` call these functions, so both do the same
and raise the same errors. The examples below are run by the tests, in an empty directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from qdeploy.architectures.task import TaskName
from qdeploy.bundle import Bundle, open_bundle
from qdeploy.checkpoint.hub import find_published_here, naming_published
from qdeploy.deploy import run
from qdeploy.deploy.export import default_output, prepare
from qdeploy.deploy.export import export as export_plan
from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.deploy.loaded_models.embedding import Embedder
from qdeploy.deploy.loaded_models.model import Model
from qdeploy.deploy.loaded_models.reranking import Reranker
from qdeploy.deploy.obtain import find_bundle
from qdeploy.errors import InputError
from qdeploy.interface import Progress, Property
from qdeploy.planning.plan import Plan

PathLike = str | os.PathLike[str]


def plan(
    model: PathLike,
    *,
    target: str,
    profile: PathLike | None = None,
    exporter: str | None = None,
    backend: str | None = None,
    context: int | None = None,
    adapter: PathLike | None = None,
    requantize: bool = False,
    calibrate: bool | None = None,
    calibration: PathLike | None = None,
    calibration_tokens: int | None = None,
    calibration_seed: int | None = None,
    average_bits: float | None = None,
    fit: int | str | None = None,
    task: TaskName | None = None,
) -> Plan:
    """Resolve a checkpoint and a profile into a plan, without reading a weight.

    Args:
        model: an embedded model (`qwen3-nano`), a checkpoint directory or a hub id. Published
            Qwen3 models (`Qwen/Qwen3-8B`) need neither files nor network.
        target: what to deploy to; `qdeploy targets` lists the names.
        profile: a profile's name or TOML file. None is the target's default, int4.
        exporter: which exporter is to write it. None is the default one of the profile's format.
        backend: which runtime the default profile is for. None is any installed one.
        context: longest context in tokens, prompt and answer together. None is the model's own.
        adapter: directory of a LoRA adapter (PEFT) to merge into the weights.
        requantize: whether weights that are quantized already are rounded again, with the
            profile's precision, and not kept as they are stored.
        calibrate: whether codes of linear weights are chosen by what the layers read on some text.
            None is what the next three imply, or else the profile.
        calibration: file of the text. None is what the model writes itself.
        calibration_tokens: length of the text. None is the profile's, or 16384.
        calibration_seed: of the choice of texts. None is the profile's, or 0.
        average_bits: most bits that linear weights take, with scales and zero points: each weight
            gets those that lose the least, when it is exported. A plan forecasts them.
        fit: the same for the bytes of the bundle, e.g. `4GiB`.
        task: what the model is for: `generate`, `embed` or `rerank`. None is what its files say.

    Returns:
        The plan: precision and size of every tensor, predicted sizes and memory in bytes.
        `plan.summary()` is the same as plain data.

    Raises:
        InputError: an unknown name, or parts that do not go together.
        HubError: the model is neither here nor published, and the hub cannot be reached.

    Examples:
        >>> import qdeploy
        >>> plan = qdeploy.plan("Qwen/Qwen3-8B", target="cuda", profile="cuda-int4")
        >>> plan.format, plan.summary()["linear"]
        ('safetensors', 'int4 sym g128')
        >>> plan.bundle_bytes < 8e9  # bytes
        True
        >>> qdeploy.plan("qwen3-nano", target="cpu", backend="openvino").format
        'openvino'
        >>> qdeploy.plan("Qwen/Qwen3-8B", target="cudo")
        Traceback (most recent call last):
        qdeploy.errors.InputError: unknown target 'cudo'
          fix: did you mean 'cuda'?
    """
    name = os.fspath(model)
    with naming_published():
        return prepare(
            find_published_here(name) or name,
            target,
            profile_name=None if profile is None else os.fspath(profile),
            exporter_name=exporter,
            backend_name=backend,
            context=context,
            adapter=None if adapter is None else Path(adapter),
            requantize=requantize,
            calibrate=calibrate,
            calibration=None if calibration is None else Path(calibration),
            calibration_tokens=calibration_tokens,
            calibration_seed=calibration_seed,
            average_bits=average_bits,
            fit=fit,
            task=task,
        )[0]


def export(  # noqa: D417  (most arguments are those of `plan`)
    model: PathLike,
    *,
    target: str,
    output: PathLike | None = None,
    profile: PathLike | None = None,
    exporter: str | None = None,
    backend: str | None = None,
    context: int | None = None,
    adapter: PathLike | None = None,
    requantize: bool = False,
    calibrate: bool | None = None,
    calibration: PathLike | None = None,
    calibration_tokens: int | None = None,
    calibration_seed: int | None = None,
    average_bits: float | None = None,
    fit: int | str | None = None,
    task: TaskName | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Export a checkpoint to a bundle for one target. The bundle appears whole or not at all.

    Args:
        model: an embedded model (`qwen3-nano`), a checkpoint directory or a hub id.
        target: what to deploy to.
        output: the bundle's directory. None is `MODEL-PROFILE` in the working directory.
        profile, exporter, backend, context, adapter, requantize, calibrate, calibration,
            calibration_tokens, calibration_seed, average_bits, fit, task: see `plan`.
        force: replace a bundle that is there already.
        progress: receives the stages and the bytes written; see `qdeploy.interface.Progress`.

    Returns:
        The bundle: its `path`, its `manifest`, its `digest` (sha256) and its size, `nbytes`.

    Raises:
        InputError: an unknown name, parts that do not go together, or files that do not hold.
        OutputError: *output* exists and *force* is not given, or it cannot be written.
        TargetUnavailable: a library that the exporter needs is not installed.
        ExportFailed: the exporter could not finish.

    Examples:
        >>> import qdeploy
        >>> bundle = qdeploy.export("qwen3-nano", target="cpu", output="nano")
        >>> bundle.path.name, bundle.manifest.target
        ('nano', 'cpu')
        >>> qdeploy.export("qwen3-nano", target="cpu", output="nano")
        Traceback (most recent call last):
        qdeploy.errors.OutputError: nano: output exists
          fix: --force replaces it
    """
    resolved, chosen = prepare(
        os.fspath(model),
        target,
        profile_name=None if profile is None else os.fspath(profile),
        exporter_name=exporter,
        backend_name=backend,
        context=context,
        adapter=None if adapter is None else Path(adapter),
        requantize=requantize,
        calibrate=calibrate,
        calibration=None if calibration is None else Path(calibration),
        calibration_tokens=calibration_tokens,
        calibration_seed=calibration_seed,
        average_bits=average_bits,
        fit=fit,
        task=task,
    )
    destination = default_output(resolved) if output is None else Path(output)
    return export_plan(resolved, chosen, destination, progress or Progress(), force=force)


def open(path: PathLike, *, full: bool = False) -> Bundle:  # noqa: A001
    """Open a bundle: read its manifest and check its files.

    Args:
        path: the bundle's directory.
        full: check the sha256 of every file, as `qdeploy verify` does. Otherwise files over
            64 MiB are checked for their size alone.

    Raises:
        BundleError: not a bundle, or one of a newer version.
        CheckFailed: a file is missing, cut short, altered or not listed.

    Examples:
        >>> import qdeploy
        >>> bundle = qdeploy.export("qwen3-nano", target="cpu", output="nano")
        >>> qdeploy.open("nano") == bundle
        True
    """
    return open_bundle(Path(os.path.expanduser(path)), full=full)


def load(
    model: Bundle | PathLike,
    *,
    target: str | None = None,
    device: int | str | None = None,
    devices: Sequence[int | str] | None = None,
    backend: str | None = None,
    simulate: bool = False,
    context: int | None = None,
    properties: Mapping[str, Property] | None = None,
    allow_fallback: bool = False,
    threads: int | None = None,
    concurrency: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Load a bundle on a device, and check with the runtime that it runs there.

    Args:
        model: a bundle, or its directory. The name of a model, which needs a *target*, is
            exported into the cache first.
        target: what to run on. None is the bundle's own target.
        device: which of the target's devices: its place in `qdeploy targets`, or its id. None is
            the first.
        devices: several of them, in order, that the model is spread over, in place of *device*.
            Only some runtimes do that.
        backend: which runtime. None is the first one that serves the target here.
        simulate: run on the target's simulated device, which never happens unasked.
        context: most tokens, prompt and answer together, that the model must hold. None is what
            the bundle was exported for.
        properties: runtime settings that override the profile's.
        allow_fallback: heavy operators may run elsewhere; `placement.fallback` lists them.
        threads: CPU threads to compute with. None is one for each physical core that this process
            may use; `placement.threads` is the number.
        concurrency: requests that should be served at once, each by a thread of its own;
            `session.concurrency` is how many the backend serves. Above 1, backends that batch
            are preferred.
        progress: receives the progress of an export.

    Returns:
        The loaded model, a context manager that frees the device at its end.

    Raises:
        InputError: an unknown name, or parts that do not go together.
        TargetUnavailable: the target is absent on this machine, with the reason and the fix.
        PlacementError: the runtime would run heavy operators elsewhere.
        GenerationFailed: the runtime could not load the bundle.

    Examples:
        >>> import qdeploy
        >>> bundle = qdeploy.export("qwen3-nano", target="cpu", output="nano")
        >>> with qdeploy.load(bundle, context=512) as model:
        ...     model.target, model.context, model.placement.fallback
        ('cpu', 512, ())
        >>> qdeploy.load("qwen3-nano")
        Traceback (most recent call last):
        qdeploy.errors.InputError: qwen3-nano is a model, not a bundle, so the target must be named
          fix: add --target, e.g. --target cpu
    """
    if device is not None and devices is not None:
        raise InputError("both device and devices are given", fix="leave out one of them")
    which: run.Which = devices if devices is not None else 0 if device is None else device
    if not isinstance(model, Bundle):
        model, _ = find_bundle(
            os.fspath(model),
            target,
            progress or Progress(),
            backend=backend,
            device=which,
            simulate=simulate,
        )
    choice = run.choose(
        model,
        target=target,
        backend=backend,
        device=which,
        simulate=simulate,
        concurrency=concurrency,
    )
    asked: run.Asked = {
        "context": context,
        "properties": properties,
        "allow_fallback": allow_fallback,
        "threads": threads,
        "concurrency": concurrency,
    }
    task = model.manifest.task.name
    if task == "generate":
        return ChatModel(model, choice, run.load(model, choice, **asked))
    kind = Embedder if task == "embed" else Reranker
    return kind(model, choice, run.load_encoder(model, choice, **asked))
