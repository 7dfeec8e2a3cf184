"""The page of a sweep. Imported by sweeps."""
