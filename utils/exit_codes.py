"""What our programs tell whoever started them: sweeps, containers and schedulers rely on these numbers.

Reserved for finetune.py, and not to be given another meaning: 75 stopped by a signal after a save (run it again), 77
out of memory at batch size 1, 78 no numbers.
"""

from __future__ import annotations

FINISHED = 0
FAULT = 1
"""Something went wrong that is not the input's fault; another start may do better."""
BAD_INPUT = 2
"""Input that cannot be used: it would be the same next time."""
LOCKED = 69
"""Another process holds what is needed; EX_UNAVAILABLE of sysexits.h."""
INTERRUPTED = 130
"""128 and the number of SIGINT."""
