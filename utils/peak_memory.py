"""The most memory that processes had, where the system is a Unix."""

from __future__ import annotations

import resource
import sys


def peak_bytes(who: int = resource.RUSAGE_SELF) -> int:
    """Most resident memory so far, bytes, of this process or of the largest that it waited for (RUSAGE_CHILDREN)."""
    # Kilobytes of 1,024 bytes, but on macOS, where it is bytes: getrusage(2).
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
