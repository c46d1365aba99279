"""Experts that are stored in stacks are the same weights as those stored one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import check_weights
from qdeploy.errors import CheckpointError
from tests.support import tiny
from tests.support.changed import assert_same, fuse, renamed, write
from tests.support.checkpoints import write_checkpoint
from tests.support.tiny import SPARSE


class TestStacks:
    @pytest.mark.parametrize("suffix", ["", ".weight"])
    @pytest.mark.parametrize("whole", [True, False], ids=["fused", "apart"])
    def test_of_experts_are_split(self, suffix: str, whole: bool, tmp_path: Path) -> None:
        found = write(tmp_path, SPARSE, lambda made: fuse(made, suffix=suffix, whole=whole))
        assert_same(found, SPARSE)

    def test_may_be_in_some_layers_only(self, tmp_path: Path) -> None:
        config = SPARSE | {"mlp_only_layers": [1]}
        assert_same(write(tmp_path, config, fuse), config)

    def test_keep_the_prefix_of_a_trainer_out(self, tmp_path: Path) -> None:
        found = write(tmp_path, SPARSE, lambda made: renamed("^", "module.")(fuse(made)))
        assert_same(found, SPARSE)

    def test_that_are_transposed_are_refused(self, tmp_path: Path) -> None:
        def transpose(made: dict[str, Any]) -> dict[str, Any]:
            stacks = fuse(made)
            return {
                n: np.ascontiguousarray(np.swapaxes(v, 1, 2)) if v.ndim == 3 else v
                for n, v in stacks.items()
            }

        with pytest.raises(CheckpointError, match="experts are transposed"):
            write(tmp_path, SPARSE, transpose)

    @pytest.mark.parametrize("whole", [True, False])
    def test_beside_the_same_expert_by_itself_are_refused(
        self, whole: bool, tmp_path: Path
    ) -> None:
        name = "model.layers.0.mlp.experts.1.up_proj.weight"

        def change(made: dict[str, Any]) -> dict[str, Any]:
            return fuse(made, whole=whole) | {name: made[name]}

        with pytest.raises(
            CheckpointError, match=rf"{name} is in .*gate_up_proj|up_proj.* and in {name}"
        ):
            write(tmp_path, SPARSE, change)

    def test_of_two_kinds_are_refused(self, tmp_path: Path) -> None:
        def change(made: dict[str, Any]) -> dict[str, Any]:
            return fuse(made, whole=False) | fuse(made)

        with pytest.raises(
            CheckpointError, match=r"is in .*experts.gate_up_proj and in .*experts.gate_proj"
        ):
            write(tmp_path, SPARSE, change)

    def test_of_another_number_of_experts_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"is \[4, .*describes \[5, "):
            write(tmp_path, SPARSE | {"num_experts": 5}, lambda _: fuse(tiny.draw(SPARSE)))

    def test_of_absurdly_many_are_not_listed(self, tmp_path: Path) -> None:
        """A file of holes holds as many experts as it likes."""
        config = SPARSE | {"num_experts": 2**30}
        place = "model.layers.0.mlp.experts.down_proj"
        extra = {place: (2**30, 1, 1), "model.norm.weight": (96,)}
        write_checkpoint(tmp_path, SPARSE, extra=extra)
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with pytest.raises(CheckpointError, match="layers and experts; there are"):
            check_weights(read_checkpoint(tmp_path))
