from __future__ import annotations

import io
import logging
import re
import sys

import pytest
from tqdm import tqdm

from utils.logging import setup_logging


@pytest.fixture(autouse=True)
def _restore_root_logger():
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    for handler in set(root.handlers) - set(before[0]):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[1])


def test_setup_logging_rank_zero_writes_to_console_and_file(tmp_path, capsys):
    setup_logging(tmp_path / "run" / "log.txt")
    logging.getLogger("trainers.loop").info("step %d", 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"\d\d:\d\d:\d\d step 3\n", captured.err)
    line = (tmp_path / "run" / "log.txt").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:,]+ rank 0 INFO trainers\.loop: step 3\n", line)


def test_setup_logging_other_rank_appends_to_the_file_only(tmp_path, capsys):
    log_file = tmp_path / "log.txt"
    log_file.write_text("earlier\n")
    setup_logging(log_file, rank=1)
    logging.getLogger("trainers").warning("slow")
    assert capsys.readouterr().err == ""
    earlier, line = log_file.read_text().splitlines()
    assert earlier == "earlier"
    assert line.endswith("rank 1 WARNING trainers: slow")


def test_setup_logging_second_call_replaces_the_first(tmp_path, capsys):
    setup_logging(None)
    setup_logging(tmp_path / "log.txt")
    logging.getLogger("utils").info("once")
    assert capsys.readouterr().err.count("once") == 1
    assert (tmp_path / "log.txt").read_text().count("once") == 1


def test_setup_logging_other_libraries_are_heard_from_warning_on(capsys):
    setup_logging(None)
    logging.getLogger("some_library").info("chatter")
    logging.getLogger("some_library").warning("trouble")
    assert capsys.readouterr().err.endswith(" trouble\n")


def test_setup_logging_line_does_not_cut_through_a_progress_bar(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    setup_logging(None)
    with tqdm(total=2, file=stream, desc="bar") as bar:
        bar.update(1)
        bar.refresh()
        logging.getLogger("utils").info("hello")
    # The bar is wiped (carriage return, blanks, carriage return) before the line.
    assert re.search(r"\r +\r\d\d:\d\d:\d\d hello\n", stream.getvalue())
