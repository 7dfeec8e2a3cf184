"""Encoded documents: the same bytes however they were written, whole or not there, and refused if damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessors.documents import processes, reading, writing
from preprocessors.documents.byte_pairs import BytePairTokenizer
from preprocessors.documents.codes import ControlCodes
from preprocessors.documents.interface import TextTokenizer
from preprocessors.documents.processes import encode
from preprocessors.documents.sources import JsonlDocuments
from preprocessors.documents.token_bins import TokenBins
from preprocessors.documents.writing import Limits, Writer
from preprocessors.text.styles import StyleRegistry
from utils.errors import Fault

Encode = Callable[..., TokenBins]
STYLES = StyleRegistry(["sweet", "sour"])


class Killed(BaseException):
    """The program is gone: nothing that catches faults catches it."""


@pytest.fixture
def source(tmp_path: Path) -> JsonlDocuments:
    """30 documents; every seventh cannot be used."""
    rows = []
    for number in range(30):
        row: dict[str, Any] = {"body": f"the cat {number} sat on the mat . " * (1 + number % 3), "title": f"t{number}"}
        row |= {"meta": ["sweet", "sour"][number % 2], "links": [f"t{number + 1}"]}
        rows.append(json.dumps(row | ({"body": " "} if number % 7 == 3 else {})))
    (tmp_path / "source.jsonl").write_text("\n".join(rows) + "\n")
    return JsonlDocuments(tmp_path / "source.jsonl", links=True)


@pytest.fixture
def encoded(source: JsonlDocuments, tokenizer: BytePairTokenizer, monkeypatch) -> Encode:
    """Encodes the source in batches of two or three documents into a folder, saving after each."""
    monkeypatch.setattr(reading, "BATCH", 100)
    monkeypatch.setattr(writing, "SAVE_SECONDS", 0.0)

    def run(folder: Path, *, processes: int = 1, key: str = "k", **settings: Any) -> TokenBins:
        limits, policy = settings.get("limits", Limits()), settings.get("on_bad_row", "skip")
        codes = ControlCodes(tokenizer, settings.get("registry", STYLES))
        writer = Writer(folder, codes, key=key, limits=limits, on_bad_row=policy, about={"source": "here"})
        for _ in encode(source, tokenizer, writer, processes):
            pass
        writer.finish()
        return TokenBins.open(folder, tokenizer, codes.registry)

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_encoded_documents_are_read_back(encoded: Encode, tokenizer: BytePairTokenizer, tmp_path: Path):
    bins = encoded(tmp_path / "a")
    assert len(bins) == 26
    code, body = bins[1]
    assert tokenizer.decode(code) == "sour\n"
    assert tokenizer.decode(body) == "the cat 1 sat on the mat . the cat 1 sat on the mat ."
    assert tokenizer.decode(bins[25].body).startswith("the cat 29 ")
    assert bins.about["skipped"] == {"blank body": 4}
    assert bins.about["tokens"] == sum(len(bins[number].code) + len(bins[number].body) for number in range(26))
    assert bins.about["body_bytes"] == sum(len(tokenizer.decode(bins[number].body)) for number in range(26))
    assert bins.body_lengths().tolist() == [len(bins[number].body) for number in range(26)]


def test_encoded_folder_holds_what_it_is_to_hold_and_its_hashes_fit(encoded: Encode, tmp_path: Path):
    encoded(tmp_path / "a")
    assert [*content(tmp_path / "a")] == ["documents.bin", "links.bin", "meta.json", "tokens.bin"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_encoding_goes_on_wherever_it_was_killed(encoded: Encode, tmp_path: Path, monkeypatch):
    """Before a batch is written, in the middle of it, between writing and saving, and while a folder is sealed."""
    encoded(tmp_path / "whole")
    steps, at, read = 0, 0, list[Any]()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == at:
                raise Killed
            return function(*given, **named)

        return step

    for owner, name in (
        *((Writer, "_code"), (Writer, "save"), (Writer, "write")),
        *((writing, "write_json"), (writing, "write_links"), (writing, "put_in_place"), (writing, "hash_file")),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    monkeypatch.setattr(JsonlDocuments, "_document", _noting(JsonlDocuments._document, read))
    encoded(tmp_path / "counting")
    number = steps
    for point in range(1, number + 1, number // 7):
        folder, steps, at = tmp_path / str(point), 0, point
        with pytest.raises(Killed):
            encoded(folder)
        assert not folder.exists()
        at = 0
        read.clear()
        encoded(folder)
        assert content(folder) == content(tmp_path / "whole"), point
        assert len(read) < 20 or point < number / 2  # what was encoded before is not even read


def _noting(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def noted(*given: Any) -> Any:
        calls.append(given)
        return function(*given)

    return noted


def test_encoding_of_something_else_does_not_go_on_with_what_is_there(encoded: Encode, tmp_path: Path, monkeypatch):
    encoded(tmp_path / "whole", key="other")
    monkeypatch.setattr(writing, "put_in_place", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        encoded(tmp_path / "again")
    monkeypatch.undo()
    monkeypatch.setattr(reading, "BATCH", 100)
    encoded(tmp_path / "again", key="other")
    assert content(tmp_path / "again") == content(tmp_path / "whole")


def test_encoding_in_processes_gives_the_same_bytes(encoded: Encode, tmp_path: Path):
    encoded(tmp_path / "one")
    encoded(tmp_path / "two", processes=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_encoding_tells_of_a_process_that_is_gone_between_two_batches(encoded: Encode, tmp_path: Path, monkeypatch):
    class Gone:
        """A connection to it."""

        def send(self, bodies: Any) -> None:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(processes, "_start", lambda *_: Gone())
    with pytest.raises(Fault, match="a process that encoded documents was ended"):
        encoded(tmp_path / "a", processes=2)


def test_bad_document_is_an_error_unless_such_are_skipped(encoded: Encode, tmp_path: Path):
    with pytest.raises(ValueError, match=r"source\.jsonl, line 4: 'body' is blank"):
        encoded(tmp_path / "a", on_bad_row="error")
    assert not (tmp_path / "a").exists()


def test_style_that_is_unknown_is_a_bad_document(encoded: Encode, tmp_path: Path):
    with pytest.raises(ValueError, match=r"source\.jsonl, line 2: unknown style 'sour'; nearest: "):
        encoded(tmp_path / "a", on_bad_row="error", registry=StyleRegistry(["sweet"]))
    bins = encoded(tmp_path / "b", registry=StyleRegistry(["sweet"]))
    assert bins.about["skipped"] == {"blank body": 4, "unknown style": 13}


def test_long_meta_is_refused_and_long_body_cut(encoded: Encode, tokenizer: BytePairTokenizer, tmp_path: Path):
    (length,) = {len(ControlCodes(tokenizer, None).ids([word])) for word in ("sweet",)}
    fault = rf"source\.jsonl, line 1: its meta takes {length} ids, and documents\.max_meta_len={length - 1}"
    with pytest.raises(ValueError, match=fault):
        encoded(tmp_path / "a", on_bad_row="error", limits=Limits(meta=length - 1))
    whole = encoded(tmp_path / "b")
    cut = encoded(tmp_path / "c", limits=Limits(body=12))
    assert cut.about["cut"] == sum(whole.body_lengths() > 12) > 0
    assert cut[2].body.tolist() == whole[2].body.tolist()[:12]


def test_source_without_any_usable_document_is_refused(encoded: Encode, tmp_path: Path):
    with pytest.raises(ValueError, match=r"^here: not one document can be used\. The first: .*, line 1: its meta"):
        encoded(tmp_path / "a", limits=Limits(meta=1))
    assert not (tmp_path / "a").exists()


class Large:
    """Stands for a tokenizer of 65,537 entries, whose last id takes more than two bytes."""

    bos_id = eos_id = 0

    def __len__(self) -> int:
        return 65_537

    def digest(self) -> str:
        return "large"


def test_ids_take_two_bytes_only_where_all_fit():
    assert [writing.dtype_of(entries) for entries in (65_535, 65_536, 65_537)] == ["<u2", "<u2", "<u4"]
    assert int(np.array([65_535], "<u2")[0]) == 65_535


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", r"tokens\.bin: has [\d,]+ bytes and was written with [\d,]+: it was cut short"),
        ("flip", r"documents\.bin: has other content than was written"),
        ("remove", r"holds no encoded documents; run finetune\.py encode"),
        ("version", r"meta\.json: is not of format_version 1, but 9"),
        ("field", r"meta\.json: documents=0: must be greater than or equal to 1"),
        ("lack", r"meta\.json: tokens is missing; cut is missing"),
        ("tokenizer", r"was encoded with another tokenizer than the model's"),
        ("styles", r"was encoded with other styles than the model's"),
        ("large", r"has ids of two bytes, and the model's go up to 65,537"),
    ],
)
def test_token_bins_refuse_what_is_damaged_or_of_another_model(
    encoded: Encode, tokenizer: BytePairTokenizer, tmp_path: Path, damage: str, message: str
):
    folder = tmp_path / "a"
    encoded(folder)
    about = json.loads((folder / "meta.json").read_text())
    other: TextTokenizer = tokenizer
    registry: StyleRegistry | None = STYLES
    if damage == "cut":
        (folder / "tokens.bin").write_bytes((folder / "tokens.bin").read_bytes()[:-3])
    elif damage == "flip":
        held = bytearray((folder / "documents.bin").read_bytes())
        held[16] ^= 1
        (folder / "documents.bin").write_bytes(held)
    elif damage == "remove":
        (folder / "meta.json").unlink()
    elif damage == "tokenizer":
        other = tokenizer.extended(["<style_0>"])
    elif damage == "large":
        other = Large()  # type: ignore[assignment]
    elif damage == "styles":
        registry = None
    else:
        changes = {"version": {"format_version": 9}, "field": {"documents": 0}, "lack": {}}[damage]
        if damage == "lack":
            del about["tokens"], about["cut"]
        (folder / "meta.json").write_text(json.dumps(about | changes))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        TokenBins.open(folder, other, registry)
