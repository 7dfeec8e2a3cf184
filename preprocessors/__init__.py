"""Files to model inputs: examples, readers, preprocessors, data set, collator.

Imported by models and everything above.
"""
