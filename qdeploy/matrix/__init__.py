"""The matrix: models x targets x profiles; each machine runs the cells that it can."""
