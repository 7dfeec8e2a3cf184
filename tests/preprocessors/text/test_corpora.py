from pathlib import Path

import pytest

from preprocessors.text.corpora import StyledText, read_style_corpus


def write(folder: Path, text: str) -> Path:
    path = folder / "corpus.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_read_style_corpus_keeps_order_and_says_where_each_text_stands(tmp_path: Path):
    lines = ['{"body": " Two hearts! ", "meta": " Romantic"}', "", '{"meta": "calm", "body": "naïve", "id": 3}', ""]
    path = write(tmp_path, "\n".join(lines))
    assert read_style_corpus(path) == [
        StyledText("Two hearts!", "Romantic", f"{path}:1"),
        StyledText("naïve", "calm", f"{path}:3"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"body": "x"}', r"'meta' is missing \(keys: body\)"),
        ('{"text": "x", "meta": "calm"}', r"'body' is missing \(keys: text, meta\)"),
        ('{"body": ["x"], "meta": "calm"}', r"'body' must be text, got \['x'\]"),
        ('{"body": "x", "meta": {"style": "calm"}}', r"'meta' must be text, got \{'style': 'calm'\}"),
        ('{"body": " ", "meta": "calm"}', "'body' is blank"),
        ('{"body": "x", "meta": ""}', "'meta' is blank"),
        ('{"body": "?!", "meta": "calm"}', r"'body' has no words: '\?!'"),
        ('["x", "calm"]', r"must be a JSON object, got \['x', 'calm'\]"),
    ],
)
def test_read_style_corpus_bad_row_names_file_line_and_remedy(tmp_path: Path, line: str, message: str):
    path = write(tmp_path, f'{{"body": "fine", "meta": "calm"}}\n\n{line}\n')
    with pytest.raises(ValueError, match=rf'corpus\.jsonl:3: {message}\. Each line must be \{{"body": text, "meta"'):
        read_style_corpus(path)


def test_read_style_corpus_without_rows_or_file_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"corpus\.jsonl: the corpus has no rows\. Check masked_lm\.corpus"):
        read_style_corpus(write(tmp_path, "\n \n"))
    with pytest.raises(ValueError, match=r"corpus\.jsonl, line 2, column \d+: not valid JSON"):
        read_style_corpus(write(tmp_path, '{"body": "x", "meta": "calm"}\n{"body": \n'))
    with pytest.raises(FileNotFoundError, match=r"gone\.jsonl: no such file"):
        read_style_corpus(tmp_path / "gone.jsonl")
