"""What drawn captions are worth: strings to numbers.

Imported by trainers and pipeline; its table of terms by the configuration.
"""
