from __future__ import annotations

import csv
import io
import time

import pytest

from reports.runs.board import to_csv, to_html, to_markdown
from reports.runs.page import both_curves
from reports.runs.text import age_text, printable, size_text, text_table
from runs.board import conf_of, make_board
from runs.files import read_record
from runs.state import describe_state


def described(*runs):
    return [(run, read_record(run), describe_state(run)) for run in runs]


def test_text_table_columns_line_up():
    assert text_table(("a", "n"), [("long", "5"), ("x", "100")], right=(1,)) == "a       n\nlong    5\nx     100"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (3 * 86400, "3 d ago"), (-9, "0 s ago")],
)
def test_age_has_a_unit_that_fits_and_a_clock_that_jumped_back_is_now(seconds, text):
    assert age_text(time.time() - seconds) == text


def test_size_has_a_unit_that_fits():
    assert [size_text(size) for size in (5, 1500, 2_500_000, 3 * 10**9)] == ["5 B", "1.5 kB", "2.5 MB", "3.0 GB"]


def test_printable_replaces_what_a_terminal_would_obey():
    assert printable("a\x1b[1m\nb") == "a�[1m�b"


@pytest.mark.parametrize(
    ("command", "conf"),
    [
        ("python finetune.py --conf 'my conf.json' --set a=b", "my conf.json"),
        ("python finetune.py --conf=c.json", "c.json"),
        ("python finetune.py --conf", None),
        ("python 'unclosed", None),
    ],
)
def test_configuration_file_is_found_in_a_command(command, conf):
    assert conf_of(command) == conf


def test_curves_of_both_runs_share_a_chart_and_numbers_of_one_have_none():
    loss, other = [(1, 3.0), (2, 2.0)], [(1, 1.0)]
    charts = both_curves(
        {"train/loss": loss, "val/loss": other, "train/kl": other}, {"train/loss": other, "val/loss": loss}
    )
    assert [chart["title"] for chart in charts] == ["val/loss", "train/loss"]
    assert [(curve["name"], curve["last"]) for curve in charts[1]["curves"]] == [("A", 2.0), ("B", 1.0)]


def test_board_of_a_run_without_a_record_still_has_a_row(make_run):
    run = make_run("a|b")
    run.environment.unlink()
    run.commands.unlink()
    board = make_board(described(run), ["CIDEr", "SPICE"])
    (row,) = board["groups"][0]["rows"]
    assert (row["state"], row["commit"], row["conf"]) == ("damaged", None, None)
    (line,) = csv.DictReader(io.StringIO(to_csv(board)))
    assert (line["CIDEr"], line["CIDEr_low"], line["SPICE"], line["commit"]) == ("0.4", "0.3", "", "")
    markdown = to_markdown(board, "t")
    assert "a\\|b" in markdown
    assert "SPICE" not in markdown
    assert '<th scope="col">CIDEr</th>' in to_html(board, "t")


def test_page_escapes_what_stands_in_files(make_run):
    run = make_run("<b>")
    run.commands.write_text("2026-01-02T03:04:05+00:00 <script>x</script>\n")
    html = to_html(make_board(described(run), ["CIDEr"]), "<i>")
    assert "<script" not in html
    assert "<i>" not in html
    assert "&lt;b&gt;" in html
