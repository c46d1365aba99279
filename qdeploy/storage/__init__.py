"""Files: written atomically, hashed, parsed into strict models."""
