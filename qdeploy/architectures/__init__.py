"""Model families: what their config says, and how positions are rotated."""
