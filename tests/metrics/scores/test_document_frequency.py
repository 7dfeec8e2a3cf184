from __future__ import annotations

import json
import math
import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metrics.scores.cider import cider_d
from metrics.scores.document_frequency import EOS, FORMAT, DocumentFrequency, inverse_document_frequency

CORPUS = [["a dog", "a dog runs"], ["a cat", ""], ["dog", "\ud800 \0 é 狗"]]

# cPickle of Python 2.7.18, protocols 0 and 2, of {"document_frequency": d, "ref_len": 2} for a defaultdict(float) d of
# ("a",): 2.0, (u"b\xe9",): 1.0, ("a", "b"): 1.0, and as UTF-8 byte strings ("na\xefve",): 1.0 and ("\xe0",): 1.0.
PYTHON_2 = [
    b"(dp1\nS'ref_len'\np2\nI2\nsS'document_frequency'\np3\nccollections\ndefaultdict\np4\n(c__builtin__\nfloat\np5\n"
    b"tRp6\n(Vb\xe9\np7\ntp8\nF1\ns(S'a'\ntp9\nF2\ns(S'\\xc3\\xa0'\np10\ntp11\nF1\ns(S'a'\nS'b'\ntp12\nF1\n"
    b"s(S'na\\xc3\\xafve'\np13\ntp14\nF1\nss.",
    b"\x80\x02}q\x01(U\x07ref_lenq\x02K\x02U\x12document_frequencyq\x03ccollections\ndefaultdict\nq\x04c__builtin__\n"
    b"float\nq\x05\x85Rq\x06(X\x03\x00\x00\x00b\xc3\xa9q\x07\x85q\x08G?\xf0\x00\x00\x00\x00\x00\x00U\x01a\x85q\tG@"
    b"\x00\x00\x00\x00\x00\x00\x00U\x02\xc3\xa0q\n\x85q\x0bG?\xf0\x00\x00\x00\x00\x00\x00U\x01aU\x01b\x86q\x0cG?\xf0"
    b"\x00\x00\x00\x00\x00\x00U\x06na\xc3\xafveq\r\x85q\x0eG?\xf0\x00\x00\x00\x00\x00\x00uu.",
]


def counted(eos: str | None = None) -> DocumentFrequency:
    return DocumentFrequency.from_references(CORPUS, tokenizer="words", eos=eos)


def read(path: Path, content: Any, eos: str | None = None, protocol: int = 4) -> DocumentFrequency:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return DocumentFrequency.read_pickle(path, tokenizer="words", eos=eos)


def test_document_frequency_counts_images_not_captions():
    documents = counted()

    assert documents.num_documents == 3
    asked = ["a", "dog", "a dog", "a dog runs", "dog a", "\ud800 \0 é 狗", "bird", "a bird", "a dog runs bird"]
    assert [documents.lookup(ngram) for ngram in asked] == [2, 2, 1, 1, 0, 1, 0, 0, 0]
    # 2 a + 2 dog + 6 other words, 6 pairs, 3 triples and a quadruple that are in one document each.
    assert documents.documents.sum() == 10 + 6 + 3 + 1


def test_document_frequency_eos_ends_every_caption():
    documents = counted("<eos>")

    assert [documents.lookup(ngram) for ngram in ["<eos>", "dog <eos>", "<eos> a", "cat <eos>"]] == [3, 2, 0, 1]


def test_document_frequency_captions_may_come_from_a_generator():
    documents = DocumentFrequency.from_references((texts for texts in CORPUS), tokenizer="words", eos=None)

    assert documents.num_documents == 3


@pytest.mark.parametrize("eos", ["", "end of caption", " <eos>"])
def test_document_frequency_eos_that_is_no_word_is_refused(eos):
    with pytest.raises(ValueError, match="must be a single word"):
        counted(eos)


@pytest.mark.parametrize("ngram", ["", "a b c d e"])
def test_document_frequency_lookup_of_no_ngram_is_refused(ngram):
    with pytest.raises(ValueError, match="n-grams of 1 to 4 are counted"):
        counted().lookup(ngram)


def test_inverse_document_frequency_by_hand():
    weights = inverse_document_frequency(np.array([0, 1, 2, 8]), 8)

    # None and one document weigh the same, as in the published scorers.
    assert weights == pytest.approx([math.log(8), math.log(8), math.log(4), 0, math.log(8)], abs=1e-15)


def test_inverse_document_frequency_of_all_documents_is_exactly_zero():
    for documents in [*range(1, 300), 8_091, 40_504, 113_287, 2**31 - 1]:
        assert inverse_document_frequency(np.arange(documents % 17 + 1)[::-1] * 0 + documents, documents)[0] == 0


@pytest.mark.parametrize("eos", [None, "<eos>", "狗"])
def test_document_frequency_saved_and_loaded_is_the_same(tmp_path, eos):
    documents = counted(eos)

    documents.save(tmp_path / "new folder" / "words.npz")
    loaded = DocumentFrequency.load(tmp_path / "new folder" / "words.npz", tokenizer="words", eos=eos)

    assert list(loaded.tree.words.items()) == list(documents.tree.words.items())
    assert loaded.tree.bounds == documents.tree.bounds
    assert loaded.tree.edges.tolist() == documents.tree.edges.tolist()
    assert loaded.documents.tolist() == documents.documents.tolist()
    assert (loaded.num_documents, loaded.tokenizer, loaded.eos) == (3, "words", eos)
    assert os.listdir(tmp_path / "new folder") == ["words.npz"]
    scores = [cider_d(CORPUS, ["a dog runs", "cat", "\ud800 dog"], found).tolist() for found in (documents, loaded)]
    assert scores[0] == scores[1]


def test_document_frequency_without_any_word_is_saved(tmp_path):
    empty = DocumentFrequency.from_references([[""]], tokenizer="words", eos=None)

    empty.save(tmp_path / "empty.npz")

    assert DocumentFrequency.load(tmp_path / "empty.npz", tokenizer="words", eos=None).lookup("a") == 0


@pytest.mark.parametrize(("tokenizer", "eos"), [("ptb", None), ("words", "<eos>"), ("ptb", "</s>")])
def test_document_frequency_load_other_tokenizer_or_eos_is_refused(tmp_path, tokenizer, eos):
    counted().save(tmp_path / "words.npz")

    message = (
        rf"words\.npz: counted with tokenizer 'words' and end of caption None; in use are {tokenizer!r} and {eos!r}"
    )
    with pytest.raises(ValueError, match=message):
        DocumentFrequency.load(tmp_path / "words.npz", tokenizer=tokenizer, eos=eos)


def test_document_frequency_load_truncated_or_changed_files_are_refused(tmp_path):
    path = tmp_path / "words.npz"
    counted().save(path)
    whole = path.read_bytes()

    for length in range(0, len(whole), 29):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"words\.npz: not a document frequency of StyleCap, or damaged"):
            DocumentFrequency.load(path, tokenizer="words", eos=None)
    middle = whole.index(b"documents.npy") + 60  # In the compressed numbers, which have a checksum.
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(ValueError, match="or damaged"):
        DocumentFrequency.load(path, tokenizer="words", eos=None)


def write_npz(path: Path) -> None:
    header = np.frombuffer(json.dumps({"format": "StyleCap document frequency 2"}).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, header=header, words=header, edges=np.zeros(1), documents=np.zeros(1))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("[]"), "or damaged"),
        (lambda path: path.write_bytes(pickle.dumps({"document_frequency": {("a",): 1}})), "or damaged"),
        (lambda path: np.save(path, np.zeros(3)), "or damaged"),
        (lambda path: np.save(path, np.array([{}])), "or damaged"),
        (lambda path: np.savez(path, words=np.zeros(3)), "or damaged"),
        (write_npz, f"its format is 'StyleCap document frequency 2', not '{FORMAT}'"),
    ],
)
def test_document_frequency_load_foreign_files_are_refused(tmp_path, write, message):
    write(tmp_path / "words.npz")
    if (tmp_path / "words.npz.npy").exists():
        (tmp_path / "words.npz.npy").rename(tmp_path / "words.npz")

    with pytest.raises(ValueError, match=message):
        DocumentFrequency.load(tmp_path / "words.npz", tokenizer="words", eos=None)


@pytest.mark.parametrize("function", [DocumentFrequency.load, DocumentFrequency.read_pickle])
def test_document_frequency_missing_file_is_named(tmp_path, function):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{path}: no such file"):
            function(path, tokenizer="words", eos=None)


def test_document_frequency_failed_save_leaves_the_old_file_alone(tmp_path, monkeypatch):
    counted().save(tmp_path / "words.npz")
    before = (tmp_path / "words.npz").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        counted("<eos>").save(tmp_path / "words.npz")

    assert (tmp_path / "words.npz").read_bytes() == before
    assert os.listdir(tmp_path) == ["words.npz"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("number", [int, float, np.float64, np.float32, np.int64, np.int32])
@pytest.mark.parametrize(
    "make", [dict, lambda counts: defaultdict(float, counts), lambda counts: defaultdict(int, counts)]
)
def test_read_pickle_of_any_protocol_and_number(tmp_path, protocol, number, make):
    counts = {("a",): number(3), ("a", "é"): number(1), ("a", "é", "b", "<eos>"): number(2), ("<eos>",): number(3)}

    documents = read(tmp_path / "x.p", {"document_frequency": make(counts), "ref_len": number(3)}, "<eos>", protocol)

    assert (documents.num_documents, documents.tokenizer, documents.eos) == (3, "words", "<eos>")
    asked = ["a", "a é", "a é b <eos>", "<eos>", "é", "a é b", "b"]
    assert [documents.lookup(ngram) for ngram in asked] == [3, 1, 2, 3, 0, 0, 0]


@pytest.mark.parametrize("content", PYTHON_2)
def test_read_pickle_of_python_2_takes_byte_strings_as_latin_1(tmp_path, content):
    documents = read(tmp_path / "x.p", content)

    assert documents.num_documents == 2
    # The two bytes of an i with diaeresis; those of an a with grave hold a space, so that no caption has them.
    assert [documents.lookup(ngram) for ngram in ["a", "b\xe9", "a b", "na\xc3\xafve"]] == [2, 1, 1, 1]
    assert list(documents.tree.words) == ["b\xe9", "a", "b", "na\xc3\xafve"]


@pytest.mark.parametrize(("ref_len", "expected"), [(40_504, 40_504), (40_504.0, 40_504), (math.log(40_504), 40_504)])
def test_read_pickle_ref_len_is_a_count_or_its_logarithm(tmp_path, ref_len, expected):
    assert read(tmp_path / "x.p", {"document_frequency": {("a",): 7}, "ref_len": ref_len}).num_documents == expected


class Malicious:
    """When unpickled, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_read_pickle_with_a_command_is_refused_without_running_it(tmp_path, protocol):
    content = {"document_frequency": {("a",): 1}, "ref_len": Malicious(tmp_path / "was run")}

    with pytest.raises(ValueError, match=rf"x\.p: .*it asks for {os.system.__module__}\.system"):
        read(tmp_path / "x.p", content, protocol=protocol)

    assert os.listdir(tmp_path) == ["x.p"]
    pickle.loads((tmp_path / "x.p").read_bytes())
    assert sorted(os.listdir(tmp_path)) == ["was run", "x.p"]  # It would have done so.


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"c__builtin__\ngetattr\n.", "__builtin__.getattr"),
        (b"\x80\x04\x8c\x08builtins\x8c\x0ffloat.__class__\x93.", "builtins.float.__class__"),
        (pickle.dumps(OrderedDict()), "collections.OrderedDict"),
        (pickle.dumps(np.zeros(3)), "numpy.*_reconstruct"),
        (b"cmetrics.document_frequency\nDocumentFrequency\n.", "metrics.document_frequency.DocumentFrequency"),
    ],
)
def test_read_pickle_any_other_name_is_refused(tmp_path, content, name):
    with pytest.raises(ValueError, match=f"it asks for {name}"):
        read(tmp_path / "x.p", content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a dog",
        pickle.dumps({"document_frequency": {("a",): 1}, "ref_len": 2})[:-9],
        pickle.dumps(np.longdouble(1)),
        pickle.dumps(np.datetime64("2026-01-01")),
        b"c_codecs\nencode\n(Vabc\nVutf-16\ntR.",
    ],
)
def test_read_pickle_damaged_or_odd_files_are_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"x\.p: not a pickle of document frequencies, or damaged"):
        read(tmp_path / "x.p", content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["a.jpg"], "needs a dictionary with document_frequency and ref_len, but holds a list"),
        ({"a": 1, "ref_len": 2}, "holds a dictionary of 2 others"),
        ({"document_frequency": {}, "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": [1], "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": {"a": 1}, "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": {(): 1}, "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": {("a",) * 5: 1}, "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": {(1, 2): 1}, "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": {("a",): "1"}, "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": {("a",): -1}, "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": {("a",): math.nan}, "ref_len": 2}, "numbers by tuples of 1 to 4 words"),
        ({"document_frequency": {("a",): 1}, "ref_len": "2"}, "ref_len='2' must be the number of documents"),
        ({"document_frequency": {("a",): 1}, "ref_len": 0}, "ref_len=0 must be"),
        ({"document_frequency": {("a",): 1}, "ref_len": math.nan}, "ref_len=nan must be"),
        ({"document_frequency": {("a",): 1}, "ref_len": 10**400}, "ref_len=1000+ must be"),
        ({"document_frequency": {("a",): 1}, "ref_len": 900.5}, "ref_len=900.5 must be"),
        ({"document_frequency": {("a",): 9}, "ref_len": 8}, "means 8 documents, but an n-gram is in 9"),
    ],
)
def test_read_pickle_other_content_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "x.p", content)


def test_read_pickle_without_the_end_of_caption_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none of its captions has the word '</s>'"):
        read(tmp_path / "x.p", {"document_frequency": {("<eos>",): 2, ("a",): 1}, "ref_len": 2}, "</s>")


def test_read_pickle_of_the_flickrstyle_release_is_refused_as_a_list(shared):
    path = shared / "data" / "flickrstyle" / "train_fu.p"
    with pytest.raises(ValueError, match=r"train_fu\.p: needs a dictionary .* but holds a list"):
        DocumentFrequency.read_pickle(path, tokenizer="words", eos=None)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("documents", lambda values: values[:-1]),
        ("documents", lambda values: values * 0),
        ("edges", lambda values: values[:-2]),
        ("words", lambda values: values[:2]),
    ],
)
def test_load_arrays_that_do_not_belong_together_are_refused(tmp_path, name, change):
    path = tmp_path / "df.npz"
    DocumentFrequency.from_references([["a dog runs", "a cat"]], tokenizer="t", eos=None).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, name: change(arrays[name])})
    with pytest.raises(ValueError, match=r"df\.npz: not a document frequency of StyleCap, or damaged"):
        DocumentFrequency.load(path, tokenizer="t", eos=None)


def test_document_frequency_eos_of_rewards_is_that_of_self_critical_pickles(tmp_path):
    # Its captions are read with this word at their end: the published scorers' files must go on to be accepted.
    documents = read(tmp_path / "x.p", {"document_frequency": {("<eos>",): 2, ("a", "<eos>"): 1}, "ref_len": 2}, EOS)
    assert (documents.eos, documents.lookup(f"a {EOS}")) == ("<eos>", 1)
