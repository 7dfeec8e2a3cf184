"""Training rows from shards that are read from their beginning to their end, for sets too large to list."""
