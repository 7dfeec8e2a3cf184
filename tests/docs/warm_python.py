"""A Python that has imported the heavy libraries already: pages run dozens of commands, each of which would begin so.

As a program, given the name of a socket, it forks for every command; :data:`CLIENT` is a stand-in for ``python`` that
hands its arguments, folder, environment and open files over to such a fork, which runs them as Python itself would.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
WARM = ("pipeline.train", "pipeline.check", "commands.train", "safetensors.torch", "sklearn.svm", "captioning.pictures")
CLIENT = """#!{python} -SE
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
signal.signal(signal.SIGTERM, lambda *_: server.shutdown(socket.SHUT_WR))
os._exit(int(server.recv(16) or b"1"))
"""


def start(address: Path) -> subprocess.Popen[bytes]:
    """The server, once it listens; it ends when its standard input is closed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tests.docs.warm_python", str(address)]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not address.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError("the warm Python did not start")
        time.sleep(0.05)
    return process


def write_client(path: Path, address: Path) -> None:
    """A program at ``path`` that stands in for ``python``."""
    # Not the link in .venv: a first line of a script holds no path with a space.
    path.write_text(CLIENT.format(python=Path(sys.executable).resolve(), address=str(address)))
    path.chmod(0o755)


def _serve(address: str) -> None:
    for module in WARM:
        __import__(module)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        os.rename(f"{address}.new", address)
        while True:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _keep(connection)


def _keep(connection: socket.socket) -> None:
    """Fork the command and give back its exit code; one whose client has gone is ended."""
    head, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i", ancillary[0][2][:12])
    length, request = int.from_bytes(head, "big"), b""
    while len(request) < length:
        request += connection.recv(1 << 16)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(files, *json.loads(request))
    for file in files:
        os.close(file)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if select.select([connection], [], [], 0.02)[0]:
            os.kill(child, signal.SIGTERM)
            _, status = os.waitpid(child, 0)
            break
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        connection.send(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def _become(files: array.array[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    code = 1
    try:
        for target, source in enumerate(files):
            os.dup2(source, target)
            os.close(source)
        for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
            stream = open(number, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        _execute(arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stderr.write(f"{end.code}\n" if isinstance(end.code, str) else "")
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _execute(arguments: list[str]) -> Any:
    """What ``python ARGUMENTS`` does, for a file, ``-m``, ``-c`` and ``-``."""
    first, *rest = arguments or ["-"]
    if first == "-m":
        warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
        sys.path[0], sys.argv = os.getcwd(), rest
        return runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    if first not in ("-c", "-"):
        sys.path[0], sys.argv = str(Path(first).resolve().parent), arguments
        return runpy.run_path(first, run_name="__main__")
    sys.path[0], sys.argv = os.getcwd(), [first, *(rest[1:] if first == "-c" else rest)]
    program = rest[0] if first == "-c" else sys.stdin.read()
    return exec(compile(program, "<page>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _serve(sys.argv[1])
