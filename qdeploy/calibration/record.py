"""`CalibrationRecord`: how the codes of a bundle were calibrated, for its manifest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qdeploy.storage.toml_file import Strict


class Text(Strict):
    """A file whose text was read.

    Attributes:
        name: the file's, without a folder.
        sha256: of the whole file, in hex.
        sequences, tokens: that were taken from it.
    """

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    sequences: int = Field(ge=0)
    tokens: int = Field(ge=0)


class CalibrationRecord(Strict):
    """What was done, and what it left. It contains no time and no path.

    Attributes:
        method: how codes were found, in words.
        tokens: length of the text, all sequences together.
        seed: of all that is drawn.
        importance: what tokens counted by: `gradient` of the model's own predictions, or `none`.
        losses: of each weight, the energy of its outputs' errors relative to that of its outputs:
            (v - w) H (v - w)' / (w H w'), with v the weights that are stored, w those that they
            stand for, and H the second moments of the inputs.
    """

    method: str
    tokens: int = Field(ge=0)
    seed: int = Field(ge=0)
    texts: list[Text]
    importance: Literal["gradient", "none"]
    losses: dict[str, float]

    @property
    def loss(self) -> float:
        """The mean of all losses; 0 where there are none."""
        return sum(self.losses.values()) / max(len(self.losses), 1)
