"""What the warm process runs in its children; results are exit codes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from tests.faults.kill_points import KillPoints


def program(arguments: Sequence[str], ranks: int = 1, patch: str = "", patched: dict[str, Any] | None = None) -> int:
    """``finetune.py`` with these arguments, alone or as the processes of a launcher."""
    if ranks > 1:
        return _launch(arguments, ranks, patch, patched)
    return _main(arguments, patch, patched)


def killed_program(arguments: Sequence[str], below: str, at: int, tally: str | None = None) -> int:
    """``finetune.py`` that dies at a change of files below a folder."""
    points = KillPoints(below, at, tally).install()
    code = _main(arguments)
    points.note()
    return code


def _main(arguments: Sequence[str], patch: str = "", patched: dict[str, Any] | None = None) -> int:
    import finetune

    sys.argv = ["finetune.py", *arguments]
    if patch:
        resolve_name(patch)(**(patched or {}))
    return finetune.main(list(arguments))


def _launch(arguments: Sequence[str], ranks: int, patch: str, patched: dict[str, Any] | None) -> int:
    """What ``torchrun`` does, as far as it matters here: starts, passes SIGTERM on, ends the others when one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = {}
    for rank in range(ranks):
        pid = os.fork()
        if pid == 0:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": str(ranks),
            }  # fmt: skip
            code = 250
            try:
                code = _main(arguments, patch, patched)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children[pid] = rank
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda told, _: [_tell(pid, told) for pid in children])
    return _wait_for(children)


def _wait_for(children: dict[int, int]) -> int:
    worst, deadline = 0, None
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            sys.stderr.write(f"rank {children.pop(pid)} ended with {code}\n")
            worst = worst if worst == 75 else code or worst
            if code and deadline is None:
                deadline = time.monotonic() + 30
                for left in children:
                    _tell(left, signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            for left in children:
                _tell(left, signal.SIGKILL)
        time.sleep(0.02)
    return worst


def _tell(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def ranks_of(leader: int) -> list[int]:
    """Process numbers of a launcher's ranks."""
    text = Path(f"/proc/{leader}/task/{leader}/children").read_text()
    return [int(word) for word in text.split()]
