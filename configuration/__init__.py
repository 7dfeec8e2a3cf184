"""A run's settings: types, groups, keys and how files become them.

Imported by what turns settings into objects (`pipeline`, `commands`, `sweeps`), never by what works on plain
values.
"""
