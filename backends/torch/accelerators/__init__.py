"""Kinds of hardware that torch runs on, one file each."""
