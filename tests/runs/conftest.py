from __future__ import annotations

from tests.run_folders import make_run

__all__ = ["make_run"]
