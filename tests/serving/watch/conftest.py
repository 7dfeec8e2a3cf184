"""Runs to watch, and a server that watches them."""

from tests.run_folders import make_run

__all__ = ["make_run"]
