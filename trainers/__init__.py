"""Losses, the Trainer subclass, evaluation and reports."""
