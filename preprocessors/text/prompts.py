"""The text that stands beside a picture."""

from __future__ import annotations

DEFAULT_PROMPT = " what does the image describe? write a {} reply."
STYLE_SLOT = "{}"
"""Where the style goes in a prompt."""
