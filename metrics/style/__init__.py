"""How captions differ: by style, from each other, from the training set. Imports scores and tokenizers."""
