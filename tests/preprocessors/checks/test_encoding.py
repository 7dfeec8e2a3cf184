from __future__ import annotations

from pathlib import Path

from preprocessors.checks.encoding import bad_lines


def test_bad_lines_are_numbered(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"fine\r\ncaf\xe9\r\n\xc3\xa9\r\n\xff")
    (tmp_path / "b.txt").write_bytes("é".encode())
    told = list(bad_lines([tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "gone.txt"]))
    assert [case.where for case in told] == [f"{tmp_path / 'a.txt'}, line 2", f"{tmp_path / 'a.txt'}, line 4"]
    assert told[0].value.strip() == "café"


def test_files_that_are_no_text_have_no_lines(tmp_path: Path):
    for name in ("a.tar", "b.PARQUET", "c.arrow", "d.tsv"):
        (tmp_path / name).write_bytes(b"\xff\n")
    assert [case.where for case in bad_lines(sorted(tmp_path.iterdir()))] == [f"{tmp_path / 'd.tsv'}, line 1"]
