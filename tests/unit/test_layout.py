"""The shape of the code: which way imports may point, and what a command may import at all."""

from __future__ import annotations

import ast
import os
import re
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

LAYERS = (
    ("errors", "models"),
    ("plugins", "system"),
    ("storage",),
    ("architectures", "quantization", "targets", "tokenization"),
    ("checkpoint",),
    ("forward", "planning"),
    ("calibration",),
    ("bundle",),
    ("interface",),
    ("engines",),
    ("registry", "generation"),
    ("deploy", "forecast"),
    ("results",),
    ("evaluate",),
    ("bench", "doctor", "report", "serving", "verification"),
    ("matrix",),
    ("cli",),
    ("__main__",),
)
"""Folders and modules of the root, from the bottom up. An import may point to a lower layer or stay
in its own folder. The bottom ten are what backends and exporters are written against."""

LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}

HIGHEST_FOR_PLUGINS = LAYER["engines"]
PLUGINS = ("backends", "exporters")
"""The core imports none of these: the registry finds them by name."""


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


def folder(module: str) -> str:
    """The folder or root module of qdeploy that *module* belongs to."""
    return module.split(".")[1]


def plugin(module: str) -> str:
    """The backend or exporter that *module* belongs to."""
    return ".".join(module.split(".")[1:3])


def may_import(module: str, target: str) -> bool:
    here, there = folder(module), folder(target)
    if here in PLUGINS:
        below = LAYER.get(there, len(LAYER)) <= HIGHEST_FOR_PLUGINS
        return plugin(module) == plugin(target) or below
    return here == there or (there in LAYER and LAYER[there] < LAYER[here])


def test_every_import_points_the_right_way() -> None:
    wrong = sorted(
        f"{module} -> {target}"
        for module, file in MODULES.items()
        for target in imports(module, file)
        if "." in module and "." in target and not may_import(module, target)
    )
    assert not wrong, "imports that point the wrong way:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("qdeploy.planning.plan", "qdeploy.cli.plan"),
        ("qdeploy.planning.plan", "qdeploy.registry"),
        ("qdeploy.registry", "qdeploy.backends.openvino"),
        ("qdeploy.deploy.run", "qdeploy.exporters.optimum.job"),
        ("qdeploy.backends.openvino.session", "qdeploy.cli.output"),
        ("qdeploy.backends.openvino.session", "qdeploy.generation.generate"),
        ("qdeploy.backends.openvino", "qdeploy.backends.torch"),
        ("qdeploy.backends.openvino", "qdeploy.exporters.openvino"),
        ("qdeploy.models", "qdeploy.planning.plan"),
        ("qdeploy.storage.atomic", "qdeploy.planning.plan"),
        ("qdeploy.bench.rows", "qdeploy.report.data.rows"),
    ],
)
def test_the_rule_knows_a_wrong_way(module: str, target: str) -> None:
    assert not may_import(module, target)


def test_the_reader_sees_every_form_of_import(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import qdeploy.planning.plan\nimport os\nfrom qdeploy import errors\n"
        "from . import bundle\n"
        "from .cli import output\ndef f():\n    from qdeploy.deploy.run import choose\n"
    )
    assert set(imports("qdeploy.module", file)) == {
        "qdeploy.planning.plan", "qdeploy.errors", "qdeploy.bundle", "qdeploy.cli.output",
        "qdeploy.deploy.run",
    }  # fmt: skip


def test_the_layers_name_all_that_there_is() -> None:
    assert {folder(module) for module in MODULES if "." in module} == {*LAYER, *PLUGINS}


def test_the_design_document_has_the_layers_in_order() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = text.partition("<!-- layers:begin -->")[2].partition("<!-- layers:end -->")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert tuple(tuple(re.findall(r"`(\w+)`", row)) for row in rows) == LAYERS


def test_the_documents_name_files_that_exist() -> None:
    """Paths in backticks of the glossary and of the README's table of folders."""
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").partition("## Glossary")[2]
    paths = re.findall(r"`([a-z_*]+(?:/[a-z_*]+)*/(?:[a-z_*]+\.py)?)`", design)
    assert len(paths) > 10
    for path in paths:
        places = [*ROOT.glob(path.rstrip("/")), *(ROOT / "qdeploy").glob(path.rstrip("/"))]
        assert places, path


BACKEND_FILES = ("backend", "devices", "errors", "placement", "runtime", "session", "settings")
"""Modules that every backend has, under these names; further ones are its own."""


def test_every_backend_has_the_same_file_names() -> None:
    names = {plugin(module) for module in MODULES if folder(f"{module}.") == "backends"}
    found = {name for name in names if name != "backends"}
    assert found >= {"backends.openvino", "backends.onnxruntime"}
    wanted = {f"qdeploy.{name}.{file}" for name in found for file in BACKEND_FILES}
    assert not wanted - MODULES.keys()


MAP_ROW = re.compile(r"^([a-z]\w*(?:, [a-z]\w*)*)(?: {2,}\S|$)")
"""A row of a package's map: one or more modules, then what they are."""


def test_the_map_in_a_packages_docstring_lists_modules_that_exist() -> None:
    rows = 0
    for name, file in MODULES.items():
        if file.name != "__init__.py":
            continue
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        named = [m[1] for m in map(MAP_ROW.match, map(str.strip, text.splitlines())) if m]
        for module in ", ".join(named).split(", ") if named else ():
            assert f"{name}.{module}" in MODULES, f"the docstring of {name} names {module}"
            rows += 1
    assert rows > 10


CONFLICT = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)
"""A line that git writes into a file with a merge conflict."""


def test_no_file_has_a_merge_conflict() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so the files of the tree are unknown")
    files = [ROOT / name for name in os.fsdecode(listed.stdout).split("\0") if name]
    assert ROOT / "README.md" in files
    conflicts = [str(f) for f in files if f.is_file() and CONFLICT.search(f.read_bytes())]
    assert not conflicts, "merge conflicts in " + ", ".join(conflicts)


@pytest.mark.parametrize("line", ["<" * 7 + " HEAD", ">" * 7 + " 1695661 (Prose)"])
def test_a_merge_conflict_is_recognized(line: str) -> None:
    assert CONFLICT.search(f"text\n{line}\n".encode())
    assert not CONFLICT.search(f"text\n    {line}\n".encode())


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
    "numpy pydantic huggingface_hub tokenizers safetensors jinja2 rich platformdirs "
    "filelock".split()
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
