"""What our programs tell whoever started them: sweeps, containers and schedulers rely on these numbers."""

from __future__ import annotations

FINISHED = 0
FAULT = 1
"""Something went wrong that is not the input's fault; another start may do better."""
FINDINGS = 1
"""A check went through and found something; what, stands on standard output."""
PARTLY = 1
"""Some of the input could not be used and is named on standard error; with the rest everything is done."""
BAD_INPUT = 2
"""Input that cannot be used: it would be the same next time."""
LOCKED = 69
"""Another process holds what is needed; EX_UNAVAILABLE of sysexits.h."""
STOPPED = 75
"""Stopped by a signal, after a save where there was something to save: run it again; EX_TEMPFAIL of sysexits.h."""
OUT_OF_MEMORY = 77
"""A single row does not fit into the memory."""
NO_NUMBERS = 78
"""Losses, gradients or weights are NaN or infinite."""
INTERRUPTED = 130
"""128 and the number of SIGINT."""
