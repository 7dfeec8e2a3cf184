"""Captioners of transformers behind our interface: one file a family, and what all of them share."""
