"""Captions to numbers: no model, no configuration."""
