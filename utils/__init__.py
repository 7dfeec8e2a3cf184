"""JSON I/O, hub access, logging, environment: knows nothing about captions, imports none of our packages."""
