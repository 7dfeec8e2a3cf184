"""Documents as they come from files and captions, from the beginning and from any place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preprocessors.documents import sources
from preprocessors.documents.captions import CaptionDocuments
from preprocessors.documents.interface import Document
from preprocessors.documents.reading import BadDocument, DocumentSource, RowPolicy, batches_of
from preprocessors.documents.sources import FolderDocuments, JsonlDocuments, SeparatedDocuments
from preprocessors.examples import CaptionExample, make_example_id


def documents_of(source: DocumentSource) -> list[Document]:
    found = [read.document for read in source.read()]
    assert not [document for document in found if isinstance(document, BadDocument)]
    return found


def fault_of(source: DocumentSource) -> BadDocument:
    (fault,) = [read.document for read in source.read() if isinstance(read.document, BadDocument)]
    return fault


def check_goes_on_anywhere(source: DocumentSource) -> None:
    read = [*source.read()]
    assert len(read) > 2
    assert read[-1].size == source.num_bytes
    for place, entry in enumerate(read, start=1):
        assert [*map(str, source.read(entry.behind))] == [*map(str, read[place:])]


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_jsonl_meta_may_be_text_a_list_or_missing(tmp_path: Path):
    rows = ({"body": " a b ", "meta": "Cats, dogs"}, {"body": "c", "meta": ["x ", " "]}, {"body": "d"})
    found = documents_of(JsonlDocuments(write_lines(tmp_path / "a.jsonl", *rows)))
    assert [(document.body, document.meta) for document in found] == [
        ("a b", ("Cats, dogs",)),
        ("c", ("x",)),
        ("d", ()),
    ]
    assert found[2].where == f"{tmp_path / 'a.jsonl'}, line 3"


def test_jsonl_links_are_those_listed_then_those_in_the_body_each_once(tmp_path: Path):
    row = {"body": "[a](Cat) ![p](p.png) [b](Dog (pet)) or [c]( Dog )", "links": ["Hen", "Cat"], "title": " Zoo "}
    path = write_lines(tmp_path / "a.jsonl", row)
    (document,) = documents_of(JsonlDocuments(path, links=True))
    assert (document.title, document.links) == ("Zoo", ("Hen", "Cat", "Dog (pet)", "Dog"))
    (document,) = documents_of(JsonlDocuments(path))
    assert (document.title, document.links) == (None, ())


@pytest.mark.parametrize(
    ("line", "reason", "message"),
    [
        ("{", "not JSON", r"a\.jsonl, line 2, column 2: not valid JSON .*on_bad_row=skip"),
        ("[1]", "not an object", r"a\.jsonl, line 2: must be a JSON object, got \[1\]"),
        ('{"meta": "x"}', "no body", r"a\.jsonl, line 2: 'body' is missing"),
        ('{"body": 3}', "no body", r"a\.jsonl, line 2: 'body' must be text, got 3"),
        ('{"body": " \\n"}', "blank body", r"a\.jsonl, line 2: 'body' is blank"),
        ('{"body": "a", "meta": {"x": 1}}', "bad meta", r"'meta' must be text or a list of texts, got \{\"x\":1\}"),
        ('{"body": "a", "meta": [1]}', "bad meta", r"'meta' must be text or a list of texts, got \[1\]"),
        ('{"body": "a", "meta": 0}', "bad meta", r"'meta' must be text or a list of texts, got 0"),
    ],
)
def test_jsonl_bad_line_is_named_and_the_next_is_read(tmp_path: Path, line: str, reason: str, message: str):
    path = tmp_path / "a.jsonl"
    path.write_text(f'\ufeff{{"body": "first"}}\n{line}\n\n{{"body": "last"}}\n')
    source = JsonlDocuments(path)
    fault = fault_of(source)
    assert fault.reason == reason
    with pytest.raises(ValueError, match=message):
        raise fault
    assert [read.document.body for read in source.read() if isinstance(read.document, Document)] == ["first", "last"]


def test_folder_documents_are_its_text_files_in_order(tmp_path: Path):
    (tmp_path / "b").mkdir()
    for name, text in {"c.txt": "c\n", "b/a.txt": "\ufeffa [x](c)", "b/z.md": "no", "d.txt": "d"}.items():
        (tmp_path / name).write_text(text)
    source = FolderDocuments(tmp_path, links=True)
    found = documents_of(source)
    assert [(document.title, document.body) for document in found] == [("b/a", "a [x](c)"), ("c", "c"), ("d", "d")]
    assert found[0].links == ("c",)
    check_goes_on_anywhere(source)
    (tmp_path / "c.txt").write_bytes(b"a\xff")
    assert str(fault_of(FolderDocuments(tmp_path))).startswith(f"{tmp_path / 'c.txt'}: byte 2, 0xff, is not UTF-8")
    (tmp_path / "c.txt").write_bytes(b"")
    assert fault_of(FolderDocuments(tmp_path)).reason == "blank body"
    check_goes_on_anywhere(FolderDocuments(tmp_path))


def test_folder_document_that_is_divided_has_no_part_of_white_space(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_TEXT", 10)
    for name, text in {"a": "abc\ndefgh\n\n \n", "b": "ij", "c": "k"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    source = FolderDocuments(tmp_path)
    assert [document.body for document in documents_of(source)] == ["abc\ndefgh", "ij", "k"]
    check_goes_on_anywhere(source)


def test_folder_with_a_file_name_that_is_no_utf8_is_refused(tmp_path: Path):
    try:
        (tmp_path / b"caf\xe9.txt".decode(errors="surrogateescape")).write_text("a")
    except OSError:
        pytest.skip("this system has no such names")
    with pytest.raises(ValueError, match=r"the name of its file 'caf\\udce9\.txt' is not UTF-8; rename it"):
        FolderDocuments(tmp_path).fingerprint()


@pytest.mark.parametrize("block", [1, 3, 7, 1 << 20])
def test_separated_documents_do_not_depend_on_how_the_file_is_read(tmp_path: Path, monkeypatch, block: int):
    monkeypatch.setattr(sources, "BLOCK", block)
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n---\n---\n  \n---\nthree---four\n")
    source = SeparatedDocuments(path, "---")
    assert [document.body for document in documents_of(source)] == ["one\ntwo", "three", "four"]
    check_goes_on_anywhere(source)


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_long_text_is_divided_at_ends_of_lines_the_same_from_every_place(tmp_path: Path, monkeypatch, block: int):
    monkeypatch.setattr(sources, "BLOCK", block)
    monkeypatch.setattr(sources, "MOST_TEXT", 10)
    path = tmp_path / "a.txt"
    path.write_text("abc\ndef\nghij\nklmnopqrstuvwx\u00e9yz--0123456789-\n-\nend")
    source = SeparatedDocuments(path, "--")
    bodies = [document.body for document in documents_of(source)]
    assert bodies == ["abc\ndef", "ghij", "klmnopqrst", "uvwx\u00e9yz", "0123456789", "-\n-\nend"]
    check_goes_on_anywhere(source)


def test_missing_files_are_told(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"a\.jsonl: no such file\. Check documents\.train"):
        JsonlDocuments(tmp_path / "a.jsonl")
    with pytest.raises(FileNotFoundError, match=r"is a folder; a file is needed"):
        SeparatedDocuments(tmp_path, "-")
    with pytest.raises(FileNotFoundError, match=r"holds no \.txt files"):
        FolderDocuments(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no such folder; documents\.format=folder"):
        FolderDocuments(tmp_path / "none")


def example(image: str, style: str, *captions: str) -> CaptionExample:
    return CaptionExample(make_example_id(image, style), Path(image), style, captions)


def test_captions_are_documents_as_they_are_trained_on():
    examples = [example("a.jpg", "Sweet", "A dog, aww!", "Nice."), example("b.jpg", "Sour", "Bah!")]
    source = CaptionDocuments(examples, punctuation="strip", neutral="neutral")
    found = documents_of(source)
    assert [(document.body, document.meta) for document in found] == [
        *(("A dog aww", ("Sweet",)), ("Nice", ("Sweet",)), ("Bah", ("Sour",)))
    ]
    check_goes_on_anywhere(source)
    kept = CaptionDocuments(examples, punctuation="keep", neutral="neutral")
    assert documents_of(kept)[0].body == "A dog, aww!"
    assert kept.fingerprint() != source.fingerprint()


def test_captions_in_a_style_link_to_the_plain_ones_of_the_picture():
    examples = [
        example("a.jpg", "sweet", "s"),
        example("a.jpg", "Plain", "p", "q"),
        example("b.jpg", "sweet", "t"),
    ]
    source = CaptionDocuments(examples, punctuation="strip", neutral="plain", links=True)
    found = {document.title: document.links for document in documents_of(source)}
    assert found == {
        "a.jpg#sweet#0": ("a.jpg#Plain#0", "a.jpg#Plain#1"),
        "a.jpg#Plain#0": (),
        "a.jpg#Plain#1": (),
        "b.jpg#sweet#0": (),
    }
    with pytest.raises(ValueError, match="no caption is in the style 'neutral'"):
        CaptionDocuments(examples, punctuation="strip", neutral="neutral", links=True)


def test_batches_hold_all_documents_and_bounded_text(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("preprocessors.documents.reading.BATCH", 10)
    bodies = ["abcd"] * 7 + [""] + ["efghijklmnop"]
    source = JsonlDocuments(write_lines(tmp_path / "a.jsonl", *({"body": body} for body in bodies)))
    batches = [*batches_of(source)]
    assert [len(batch.documents) for batch in batches] == [3, 3, 2]
    assert [len(batch.bad) for batch in batches] == [0, 0, 1]
    assert [*batches_of(source, batches[1].position)] == batches[2:] or len(
        [*batches_of(source, batches[1].position)]
    ) == 1


def test_row_policy_error_raises_and_skip_counts():
    bad = BadDocument("blank body", "a, line 1: 'body' is blank")
    with pytest.raises(ValueError, match="line 1"):
        RowPolicy("error", {}, ()).leave_out(bad)
    policy = RowPolicy("skip", {"blank body": 2}, ["before"])
    policy.leave_out(bad)
    policy.leave_out(BadDocument("unknown style", "x" * 1_000_000))
    assert len(policy.first.pop()) == 1000
    assert policy.counts == {"blank body": 3, "unknown style": 1}
    assert policy.first == ["before", str(bad)]
