"""A live page of runs and sweeps, from what stands in their folders: nothing is locked there and nothing written.

Needs no package beyond requirements.txt, and neither torch nor a model.
"""
