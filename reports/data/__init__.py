"""The page of a data check. Imported by pipeline."""
