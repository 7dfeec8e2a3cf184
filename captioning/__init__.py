"""A trained folder and pictures to captions, without a trainer.

Imported by trainers, pipeline, commands and services.
"""
