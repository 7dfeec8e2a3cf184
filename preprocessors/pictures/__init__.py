"""Picture files to pixels and features."""
