"""Where the jobs of a sweep run: one file an engine, one table of them. Imports trials and standings."""
