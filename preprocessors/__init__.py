"""Files to model inputs: readers, style registry, prompts, pictures, collation."""
