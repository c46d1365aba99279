"""The shape of the code: which way imports may point, and what a command may import at all."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
FOLDERS = {"qdeploy": "qdeploy", "backends": "qdeploy.backends", "exporters": "qdeploy.exporters"}
"""Top-level folders of code, and the package that each is imported as."""

CONTRACTS = frozenset(
    {
        "architecture",
        "bundle",
        "chat_template",
        "checkpoint",
        "decoder",
        "errors",
        "hashing",
        "host",
        "interface",
        "limits",
        "listing",
        "plan",
        "probing",
        "processes",
        "profile",
        "rope",
        "sampling",
        "sizes",
        "stored",
        "strict",
        "targets",
        "tensorplan",
        "tensors",
        "weights",
        "yarn",
    }
)
"""What exporters and backends are written against; everything else of the core is above them."""

ALLOWED = {
    "contracts": {"contracts"},
    "models": set[str](),
    "core": {"contracts", "core", "models"},
    "cli": {"contracts", "core", "models", "cli"},
    "main": {"cli"},
    "backends": {"contracts"},
    "exporters": {"contracts", "shared"},
    "shared": {"contracts", "shared"},
}
"""From where to where an import may point. A backend or an exporter may import itself besides."""

SHARED = frozenset({"quantize"})
"""Parts that several exporters are made of; none of them is an exporter."""


def modules() -> Iterator[tuple[str, Path]]:
    """Name and file of every module."""
    for folder, package in FOLDERS.items():
        for directory, _, files in os.walk(ROOT / folder):  # which does not follow the symlinks
            place = Path(directory).relative_to(ROOT / folder).parts
            for file in files:
                if file.endswith(".py"):
                    name = () if file == "__init__.py" else (file.removesuffix(".py"),)
                    yield ".".join((package, *place, *name)), Path(directory) / file


MODULES = dict(modules())


def imports(name: str, file: Path) -> Iterator[str]:
    """The modules of qdeploy that a module imports, wherever in its text."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            both = [f"{base}.{alias.name}" for alias in node.names]
            found = [full if full in MODULES else base for full in both]
        else:
            continue
        yield from (target for target in found if target.split(".")[0] == "qdeploy")


def zone(module: str) -> str:
    match module.split(".")[1:]:
        case ["exporters", name, *_] if name in SHARED:
            return "shared"
        case [("backends" | "exporters" | "cli" | "models") as folder, *_]:
            return folder
        case ["__main__"]:
            return "main"
        case [name, *_] if name in CONTRACTS:
            return "contracts"
        case _:
            return "core"


def may_import(module: str, target: str) -> bool:
    itself = module.split(".")[:3] == target.split(".")[:3] and zone(module) == zone(target)
    return itself or zone(target) in ALLOWED[zone(module)]


def test_every_import_points_the_right_way() -> None:
    wrong = sorted(
        f"{module} -> {target}: {zone(module)} may import {ALLOWED[zone(module)] or 'nothing'}, "
        f"not {zone(target)}"
        for module, file in MODULES.items()
        for target in imports(module, file)
        if not may_import(module, target)
    )
    assert not wrong, "imports that point the wrong way:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("qdeploy.plan", "qdeploy.cli.plan"),
        ("qdeploy.plan", "qdeploy.registry"),
        ("qdeploy.registry", "qdeploy.backends.openvino"),
        ("qdeploy.run", "qdeploy.exporters.optimum.job"),
        ("qdeploy.backends.openvino.session", "qdeploy.cli.output"),
        ("qdeploy.backends.openvino.session", "qdeploy.generate"),
        ("qdeploy.backends.openvino", "qdeploy.backends.torch"),
        ("qdeploy.backends.openvino", "qdeploy.exporters.openvino"),
        ("qdeploy.models", "qdeploy.plan"),
    ],
)
def test_the_rule_knows_a_wrong_way(module: str, target: str) -> None:
    assert not may_import(module, target)


def test_the_reader_sees_every_form_of_import(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import qdeploy.plan\nimport os\nfrom qdeploy import errors\nfrom . import bundle\n"
        "from .cli import output\ndef f():\n    from qdeploy.run import choose\n"
    )
    assert set(imports("qdeploy.module", file)) == {
        "qdeploy.plan", "qdeploy.errors", "qdeploy.bundle", "qdeploy.cli.output", "qdeploy.run",
    }  # fmt: skip


def test_the_contracts_are_modules_that_exist() -> None:
    assert {f"qdeploy.{name}" for name in CONTRACTS} <= MODULES.keys()


def test_pyproject_lists_every_folder_of_code_as_a_package() -> None:
    """One that is forgotten works in an editable install and is missing from the wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    packages = {
        name if file.name == "__init__.py" else name.rpartition(".")[0]
        for name, file in MODULES.items()
    }
    namespaces = {"qdeploy.backends", "qdeploy.exporters", "qdeploy.profiles"}
    assert listed == packages | namespaces


RUNTIMES = frozenset(
    "torch transformers openvino openvino_genai openvino_tokenizers nncf optimum onnx onnxruntime "
    "onnxruntime_genai vllm".split()
)
LIBRARIES = frozenset(
    "numpy pydantic huggingface_hub tokenizers safetensors jinja2 rich platformdirs".split()
)


def imported_by(*arguments: str) -> set[str]:
    """Top-level names of everything that a command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "qdeploy", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["export", "--help"]], ids=str)
def test_help_imports_no_library_but_the_command_lines_own(arguments: list[str]) -> None:
    imported = imported_by(*arguments)
    assert "click" in imported
    assert not imported & (RUNTIMES | LIBRARIES)


@pytest.mark.parametrize(
    "arguments", [["profiles"], ["profiles", "show", "intel-cpu-int4"]], ids=str
)
def test_profiles_import_no_runtime(arguments: list[str]) -> None:
    assert not imported_by(*arguments) & RUNTIMES


@pytest.mark.parametrize(
    "arguments", [["plan", "qwen3-nano", "--target", "intel-cpu"], ["targets"]]
)
def test_looking_around_imports_nothing_of_an_exporters(arguments: list[str]) -> None:
    """Probing for devices may take a light runtime; torch and its kind it never takes."""
    imported = imported_by(*arguments)
    assert not imported & {"torch", "transformers", "nncf", "optimum", "huggingface_hub"}
