"""Typed configuration, JSON I/O, run folders, hub access and logging; knows nothing about captions."""
