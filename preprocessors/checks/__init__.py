"""What can be wrong with captioned pictures: one file a family of faults, pure functions over examples.

Imported by pipeline.
"""
