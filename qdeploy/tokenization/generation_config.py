"""The generation settings of a model: `generation_config.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json
from qdeploy.storage.toml_file import fault

GENERATION_CONFIG_FILE = "generation_config.json"

Id = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TopP = Annotated[float, Field(gt=0, le=1)]
TopK = Annotated[int, Field(ge=0)]


class GenerationConfig(BaseModel):
    """The part of `generation_config.json` that matters here; names are the file's own."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    eos_token_id: Id | list[Id] | None = None
    do_sample: bool | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids of `eos_token_id`; empty where it is not set."""
        ids = self.eos_token_id
        if isinstance(ids, int):
            return (ids,)
        return tuple(ids or ())


def read_generation_config(folder: Path) -> GenerationConfig:
    """Read the generation settings in *folder*; all None where it has no such file.

    Raises:
        CheckpointError: a setting is malformed.
    """
    file = folder / GENERATION_CONFIG_FILE
    try:
        return GenerationConfig.model_validate(read_json(file) if file.is_file() else {})
    except ValidationError as error:
        key, complaint = fault(error)
        raise CheckpointError(f"{key}: {complaint}", where=file) from None
