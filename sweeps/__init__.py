"""Trials over settings, on GPUs, machines and clusters; starts finetune.py as a program.

On top stand the commands of ``python -m sweeps``. Nobody imports this package.
"""
