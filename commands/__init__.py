"""One file for each command of finetune.py. Imported by finetune.py alone."""
