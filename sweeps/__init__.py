"""Trials over settings, on GPUs, machines and clusters; starts finetune.py as a program. Nobody imports it."""
