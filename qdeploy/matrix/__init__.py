"""The matrix: models x targets x profiles, of which each machine runs what it has."""
