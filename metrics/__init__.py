"""Captions to numbers: no model, no configuration.

On top stand what joins several scores and the command lines; anybody may import it.
"""
