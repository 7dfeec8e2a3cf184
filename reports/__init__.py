"""Pages of runs and sweeps: numbers to tables, charts and HTML.

Takes plain values; imported by pipeline and sweeps.
"""
