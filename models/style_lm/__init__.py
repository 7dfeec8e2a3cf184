"""The text-only sibling of the captioners: a causal language model with control codes of styles."""

from models.style_lm.model import StyleLM
from models.style_lm.new import SIZES
from models.style_lm.scoring import block_logits, token_log_probs

__all__ = ["SIZES", "StyleLM", "block_logits", "token_log_probs"]
