"""What calibration is asked for: by a profile's table `[calibration]`, or by a user's options.

Calibration chooses the codes of linear weights by what the layers read on some text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from qdeploy.errors import InputError
from qdeploy.storage.hashing import file_sha256
from qdeploy.storage.toml_file import Strict, build_strict

if TYPE_CHECKING:
    from qdeploy.architectures.task import Task

FEWEST_TOKENS, MOST_TOKENS = 256, 2**20
DEFAULT_TEXTS = "default"
"""Name of what is read without a user's file: what the model writes itself, and general texts."""
OPTIONS = "--calibration, --calibration-tokens and --calibration-seed"


class CalibrationSettings(Strict):
    """A profile's table `[calibration]`; a profile that has one asks for calibration.

    Attributes:
        tokens: length of the text, all sequences together.
        seed: of the choice of texts, and of the labels that importance is found with.
        importance: whether tokens count by their importance for the model's predictions; otherwise
            all count the same, as they do where a model predicts no tokens.
    """

    tokens: int = Field(default=16384, ge=FEWEST_TOKENS, le=MOST_TOKENS)
    seed: int = Field(default=0, ge=0)
    importance: bool = True


@dataclass(frozen=True)
class Calibration:
    """What a plan calibrates with.

    Attributes:
        tokens, seed, importance: see `CalibrationSettings`.
        texts: the user's file, in place of the model's own text; None without one.
    """

    tokens: int
    seed: int
    importance: bool
    texts: Path | None = None

    @property
    def texts_name(self) -> str:
        """Name of the texts, without a folder."""
        return self.texts.name if self.texts else DEFAULT_TEXTS

    def of_task(self, task: Task) -> Calibration:
        """The same for a model of this task: tokens have no importance where none are predicted."""
        return self if task.generates else replace(self, importance=False)

    def deciding(self) -> list[Any]:
        """All that decides which codes are found, as plain data; of a user's file its sha256.

        Raises:
            OSError: the file cannot be read.
        """
        texts = file_sha256(self.texts) if self.texts else None
        return [self.tokens, self.seed, self.importance, texts]

    def summary(self) -> dict[str, Any]:
        """The same for JSON and for people."""
        return {
            "tokens": self.tokens,
            "seed": self.seed,
            "importance": self.importance,
            "texts": self.texts_name,
        }


def choose(
    table: CalibrationSettings | None,
    *,
    calibrate: bool | None = None,
    texts: Path | None = None,
    tokens: int | None = None,
    seed: int | None = None,
) -> Calibration | None:
    """Resolve a profile's table and a user's options; None for an export without calibration.

    Args:
        table: the profile's `[calibration]`, or None.
        calibrate: whether to calibrate. None is what the other options imply, else the profile.
        texts: the user's file. None is what the model writes itself.
        tokens: length of the text. None is the profile's, or else the default.
        seed: the same.

    Raises:
        InputError: options that contradict one another, a number out of range, or a file that
            cannot be read.
    """
    given = {"tokens": tokens, "seed": seed}
    changes = {key: value for key, value in given.items() if value is not None}
    if calibrate is False:
        if texts or changes:
            raise InputError(
                f"{OPTIONS} ask for calibration, and --no-calibrate forbids it",
                fix="leave out one of them",
            )
        return None
    if not (calibrate or texts or changes or table):
        return None
    settings = build_strict(
        CalibrationSettings,
        {**(table or CalibrationSettings()).model_dump(), **changes},
        where="calibration",
    )
    if texts:
        _check_readable(texts)
    return Calibration(settings.tokens, settings.seed, settings.importance, texts)


def _check_readable(texts: Path) -> None:
    try:
        texts.open("rb").close()
    except OSError as error:
        raise InputError(
            f"the texts for calibration cannot be read ({error.strerror})",
            where=texts,
            fix="give --calibration the path of a text file, or leave it out",
        ) from None
