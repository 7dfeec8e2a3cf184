"""Captions to files and standard output: a file a format, and their table."""
