"""Losses, rewards and training loops over captioners, on plain values. Imported by pipeline."""
