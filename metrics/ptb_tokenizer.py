"""The PTB tokenizer under the name that it is known by; it lives in ``metrics.tokenizers.ptb``."""

from metrics.tokenizers.ptb import PTBTokenizer, tokenize, tokenize_many

__all__ = ["PTBTokenizer", "tokenize", "tokenize_many"]
