"""The weights file: its layout, the packing of codes, the streaming writer, the resume journal."""
