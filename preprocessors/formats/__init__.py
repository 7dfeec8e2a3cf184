"""Annotation files to rows: one file a format, one table of them. Imported by the readers and the configuration."""
