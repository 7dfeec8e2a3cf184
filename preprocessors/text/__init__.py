"""The text side of examples: captions, styles, masks, corpora, vocabularies."""
