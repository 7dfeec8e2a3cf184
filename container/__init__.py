"""The image's entry point: variables to a command of finetune.py, which is started, watched and started again.

The standard library alone: what is refused is told before anything heavy is loaded. docs/container.md is its page.
"""
