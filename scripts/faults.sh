#!/usr/bin/env bash
# Breaks runs in every way that tests/faults knows, the long form: kill points at each change of the disk, each file of a
# checkpoint damaged in each way, full disks, signals at random moments. Takes about an hour on two cores. Prints a table
# of tries; the last line of standard output is the same as one JSON array. Exit 1 if anything was lost.
#   bash scripts/faults.sh                    all
#   bash scripts/faults.sh -k damage          some; arguments go to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --dev --vision >&2
tries=$(mktemp)
trap 'rm -f "$tries"' EXIT
code=0
STYLECAP_FAULTS=long STYLECAP_FAULTS_OUT=$tries .venv/bin/python -m pytest -q -s -m "" tests/faults "$@" >&2 || code=1
.venv/bin/python - "$tries" <<'PYTHON'
import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1])]
print(f"{'fault':45} {'phase':40} {'tries':>6} {'right':>6}", file=sys.stderr)
for row in rows:
    print(f"{row['fault']:45} {row['phase']:40} {row['tries']:6} {row['right']:6}", file=sys.stderr)
print(json.dumps(rows))
PYTHON
exit "$code"
