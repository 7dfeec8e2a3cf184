"""Record `meteor.json` from the Java program METEOR 1.5 of pycocoevalcap 1.2, which must run; from the root:

    PYTHONPATH=.:tests/golden python tests/golden/record_meteor.py > tests/golden/meteor.json

Re-record only when a case is added, and only from the Java program: never from our own.
"""

from __future__ import annotations

import json
import sys

from meteor_captions import segments

from metrics.scores.java import java_version
from metrics.scores.java_metrics import running_meteor

references, hypotheses = zip(*segments(), strict=True)
with running_meteor(references, hypotheses) as wait:
    counts = wait()
about = f"METEOR 1.5 of pycocoevalcap 1.2 (-stdio -l en -norm), Java {java_version()}"
json.dump({"recorded_with": about, "date": "2026-11-27", "counts": counts.tolist()}, sys.stdout)
