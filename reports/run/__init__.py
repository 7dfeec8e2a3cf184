"""The page of one run. Imported by pipeline."""
