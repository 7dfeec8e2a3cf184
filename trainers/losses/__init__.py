"""Losses: pure functions of tensors, no tokenizer, no decoding. Imported by trainers."""
