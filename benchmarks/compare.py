"""Run our benchmark and the reference's in alternating pairs and print the ratios.

    python benchmarks/compare.py --peer_python PEER_ENV/bin/python --peer_script shared/peer/ofa_bench.py \
        --pairs 3 -- --size tiny --image 224 --batch 4 --runs 3 --threads 2

What follows `--` goes to both, but for `--freeze_resnet` and `--scst`, which only ours knows. With `--scst` our whole
self-critical step, reward included, is held against the reference's step plus its reward call. A ratio is the
reference's time over ours in the same pair; the median of the pairs is printed with its range. Peak memory is the
reference's over ours likewise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

OURS = Path(__file__).resolve().parent / "ofa_speed.py"
FROZEN, TRAINED, SCST = "xe_step_frozen_resnet_s", "xe_step_s", "scst_step_s"
ONLY_OURS = ("--freeze_resnet", "--scst")


def main() -> None:
    """Run the pairs."""
    own = sys.argv[1:]
    passed_on = own[own.index("--") + 1 :] if "--" in own else []
    own = own[: own.index("--")] if "--" in own else own
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", required=True)
    parser.add_argument("--peer_script", required=True)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args(own)
    for_peer = [argument for argument in passed_on if argument not in ONLY_OURS]
    pairs = []
    for number in range(options.pairs):
        ours = run([sys.executable, str(OURS), *passed_on])
        peer = run([options.peer_python, options.peer_script, *for_peer])
        peer[SCST] = peer["scst_step_without_reward_s"] + peer["reward_call_s"]
        print(f"pair {number + 1}: ours {json.dumps(ours)}\n        peer {json.dumps(peer)}", file=sys.stderr)
        pairs.append((ours, peer))
    print(json.dumps({"pairs": len(pairs), "arguments": passed_on, "ratios": ratios(pairs)}))


def run(command: list[str]) -> dict[str, float]:
    """Last line of a command's output as JSON."""
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def ratios(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Median, lowest and highest of peer over ours, by measure."""
    table = {}
    for key in ("import_s", "encoder_forward_s", TRAINED, FROZEN, "beam5_s", SCST, "reward_call_s", "peak_rss_mb"):
        peer_key = TRAINED if key == FROZEN else key
        values = [peer[peer_key] / ours[key] for ours, peer in pairs if key in ours and peer_key in peer]
        if values:
            middle, low, high = statistics.median(values), min(values), max(values)
            table[key] = {"median": round(middle, 2), "min": round(low, 2), "max": round(high, 2)}
    return table


if __name__ == "__main__":
    main()
