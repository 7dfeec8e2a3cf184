"""What a container runs: reads its variables, tells what each became, and watches over finetune.py.

    TASK=train CONF=conf/demo.json LEARNING_RATE=1e-4 python -m container.entrypoint

docs/container.md lists the variables. Arguments go to finetune.py, behind what the variables say.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence

from container.supervisor import read_limits, say, supervise
from container.variables import ROOT, make_plan
from utils import exit_codes


def main(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run what the variables ask for.

    Returns:
        Exit code of ``utils.exit_codes``; 2 for a variable that cannot be used, before anything is started.
    """
    try:
        plan = make_plan(environment, arguments)
        limits = read_limits(environment)
    except ValueError as error:
        say(f"error: {error}")
        return exit_codes.BAD_INPUT
    for line in plan.told:
        say(line)
    say(f"running {shlex.join(['python', *plan.command[1:]])}")
    return supervise(plan.command, ROOT, limits)


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
