"""What is said of somebody else's exception."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Its first line of text, or its kind if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
