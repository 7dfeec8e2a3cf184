"""Run folders: places, record, numbers of training, checkpoints.

Needs no torch; imported by everything that writes or reads a run.
"""
