"""JavaScript of tests that look at pages: how light a color is."""

from __future__ import annotations

COLORS = """
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
"""
"""`parse` makes numbers of a computed color, and `light` its relative luminance (WCAG 2.2)."""
