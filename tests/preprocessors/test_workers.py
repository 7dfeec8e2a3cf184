import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from preprocessors.pictures.images import MAX_PIXELS, limit_pixels
from preprocessors.workers import worker_init

PROGRAM = r"""
import os, signal, sys, time
from torch.utils.data import DataLoader, Dataset
from preprocessors.workers import worker_init

class Slow(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, row):
        os.write(1, b"worker %d\n" % os.getpid())  # in one piece
        if row >= 2:
            time.sleep(300)  # in the middle of a picture, where PyTorch's own watch does not look
        return row

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests that run in the background hand down ignored
    for row in DataLoader(Slow(), batch_size=1, num_workers=2, worker_init_fn=worker_init(),
                          multiprocessing_context=sys.argv[1]):
        os.write(1, b"row %d\n" % int(row))
"""


@pytest.mark.parametrize(
    ("how", "number"),
    [("fork", signal.SIGKILL), ("fork", signal.SIGINT), pytest.param("spawn", signal.SIGKILL, marks=pytest.mark.slow)],
)
def test_no_worker_is_left_when_the_program_is_killed_or_interrupted(tmp_path: Path, how: str, number: signal.Signals):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "program.py"), how]
    program = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with program:
        assert program.stdout is not None
        workers: set[int] = set()
        rows = 0
        while rows < 2:
            word, said = program.stdout.readline().split()
            rows += word == b"row"
            workers |= {int(said)} if word == b"worker" else set()
        assert len(workers) == 2
        if number == signal.SIGINT:  # as a terminal sends it: to all of them
            os.killpg(program.pid, number)
        else:
            program.kill()
        program.wait(timeout=60)
        _, alive = psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=60)
        for process in alive:
            process.kill()
    assert not alive  # the workers' picture takes longer


class Untold(Dataset[int]):
    """Its rows are faults that nobody catches, as in a thread of a library."""

    errors = (EOFError("gone"), ConnectionResetError("gone"), ValueError("a fault"))

    def __len__(self):
        return len(self.errors)

    def __getitem__(self, row):
        sys.excepthook(type(self.errors[row]), self.errors[row], None)
        return row


def test_worker_tells_what_nobody_caught_but_not_that_its_process_is_gone(capfd):
    assert [int(row) for row in DataLoader(Untold(), None, num_workers=1, worker_init_fn=worker_init())] == [0, 1, 2]
    assert capfd.readouterr().err == "ValueError: a fault\n"


def test_worker_init_takes_the_limit_of_pixels_along_and_does_what_else_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process is no worker
    monkeypatch.setattr("preprocessors.workers.sys.platform", "other")
    monkeypatch.setattr(os, "getppid", os.getpid)
    asked: list[int] = []
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    limit_pixels(123)
    begin = worker_init(asked.append)
    limit_pixels(MAX_PIXELS)
    try:
        begin(5)
        assert Image.MAX_IMAGE_PIXELS == 123
        assert asked == [5]
    finally:
        limit_pixels(MAX_PIXELS)
