"""Words to scores: one file a metric, and what they count with. Imports tokenizers."""
