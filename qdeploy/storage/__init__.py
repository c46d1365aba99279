"""Files: written atomically, hashed, parsed strictly."""
