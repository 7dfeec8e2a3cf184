"""Captions to words, as the official scorers cut them. The lowest room of metrics."""
