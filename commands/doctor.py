"""What this machine has for StyleCap, what is wrong with it, and what to do.

    finetune.py doctor
    finetune.py doctor --work_dir /scratch/runs --json

Nothing is written. Exit code 0, or 1 if something keeps StyleCap from working as it should.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from utils import exit_codes

INTERRUPTED = ""
INTERRUPTED_CODE = exit_codes.INTERRUPTED
SIGNS = {"ok": "ok", "note": "note", "fault": "FAULT"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.description = __doc__
    parser.add_argument(
        "--work_dir", type=Path, default=Path("work_dir"), metavar="FOLDER", help="where runs go; %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")


def run(options: argparse.Namespace) -> int:
    """Print what was found; loads only what is installed."""
    from pipeline.doctor.installation import Finding, examine_installation

    findings = [*examine_installation(options.work_dir)]
    try:
        from pipeline.doctor.machine import examine_machine
    except ImportError as error:
        findings.append(Finding("fault", "machine", f"not looked at: {error}", "bash scripts/setup.sh"))
    else:
        findings += examine_machine()
    if options.json:
        print(json.dumps({"findings": [finding._asdict() for finding in findings]}))
    else:
        width = max(len(finding.what) for finding in findings)
        for status, what, found, advice in findings:
            print(f"{SIGNS[status]:5}  {what:{width}}  {found}{advice and f'  ->  {advice}'}")
    return exit_codes.FINDINGS if any(finding.status == "fault" for finding in findings) else exit_codes.FINISHED
