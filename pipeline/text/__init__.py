"""Text runs, from their configuration to an evaluated language model."""
