"""The text-only sibling of the captioners: a causal language model with control codes of styles."""

from models.style_lm.model import StyleLM, block_logits
from models.style_lm.new import SIZES

__all__ = ["SIZES", "StyleLM", "block_logits"]
