"""From a configuration to data, captioner, tasks and trainer, and through a run. Imported by commands alone."""
