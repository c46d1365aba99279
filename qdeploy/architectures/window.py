"""Families whose layers may see a sliding window of positions, which no graph here has."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from qdeploy.architectures.config import DecoderConfig, Flag

FULL = "full_attention"
"""The kind of layer, in `layer_types`, that sees every position."""


class WindowedConfig(DecoderConfig):
    """`config.json` of a family with windows. Defaults are those of transformers' `Qwen3Config`.

    Attributes:
        layers_differ: whether some layers may have a window and others not.
        sliding_window: positions that a layer with a window sees; null is no window.
        use_sliding_window: whether there are windows at all.
        max_window_layers: the first layer that has one, unless `layer_types` says it.
        layer_types: the kind of each layer's attention.
    """

    layers_differ: ClassVar[bool] = True

    sliding_window: int | None = 4096
    use_sliding_window: Flag = False
    max_window_layers: int = Field(default=28, ge=0)
    layer_types: tuple[str, ...] | None = None

    def why_not(self) -> str | None:
        return self._why_not_window() or super().why_not()

    def _why_not_window(self) -> str | None:
        if self.layers_differ and self.layer_types is not None:
            return self._why_not_layer_types(self.layer_types)
        first = self.max_window_layers if self.layers_differ else 0
        used = self.use_sliding_window and self.sliding_window is not None
        if used and first < self.num_hidden_layers:
            return "its attention has a sliding window (use_sliding_window)"
        return None

    def _why_not_layer_types(self, kinds: tuple[str, ...]) -> str | None:
        if len(kinds) != self.num_hidden_layers:
            return f"it lists {len(kinds)} of {self.num_hidden_layers} layers (layer_types)"
        other = next((kind for kind in kinds if kind != FULL), None)
        return f"a layer's attention is {other!r}, not {FULL!r} (layer_types)" if other else None
