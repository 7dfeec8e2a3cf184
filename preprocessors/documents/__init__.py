"""Documents, texts with what is told about them: readers, ids in one file, packs for a text model.

Imported by the text model and everything above.
"""
