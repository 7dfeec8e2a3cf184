"""Many runs of finetune.py over the values of some settings: which, where, and what came of them."""
