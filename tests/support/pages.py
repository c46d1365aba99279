"""The pages `docs/adding-*.md` as programs: their files are written, their commands run."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.command import ROOT, Command, Result
from tests.support.plugins import write_distribution

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\S+)\n")
PYPROJECT = "pyproject.toml"


@dataclass(frozen=True)
class Page:
    """A page of the documentation.

    Attributes:
        files: the blocks that begin with a comment that is a file's name, without it.
        commands: the lines of the blocks without a language.
    """

    text: str
    files: dict[str, str]
    commands: list[str]

    def lines(self, name: str) -> int:
        """Lines of a file that are not empty."""
        return sum(1 for line in self.files[name].splitlines() if line.strip())

    def install(self, site: Path, here: Path) -> None:
        """Put modules and entry points on *site*, as pip would, and other files into *here*."""
        for name, content in self.files.items():
            if name == PYPROJECT:
                points = tomllib.loads(content)["project"]["entry-points"]
                write_distribution(site, "acme", points)
            else:
                folder = site if name.endswith(".py") else here
                (folder / name).write_text(content, encoding="utf-8")

    def run(self, qdeploy: Command) -> Iterator[Result]:
        """Run the commands that are qdeploy's, in order; each must succeed."""
        for command in self.commands:
            name, *arguments = shlex.split(command)
            assert name == "qdeploy"
            done = qdeploy(*arguments)
            assert done.code == 0, f"{command}: {done.stderr}"
            yield done


def read_page(name: str) -> Page:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    files, commands = {}, []
    for language, content in FENCED.findall(text):
        if named := NAMED.match(content):
            files[named[1]] = content[named.end() :]
        elif not language:
            commands += content.splitlines()
    return Page(text, files, commands)
