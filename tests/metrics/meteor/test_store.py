"""METEOR's resources: compiled once, shared, and never wrong."""

from __future__ import annotations

import gzip
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from metrics.meteor import store
from metrics.meteor.lexicon import Lexicon
from metrics.meteor.paraphrases import Paraphrases, compile_paraphrases

TABLE = "0.1\nnight\nevening\n0.2\nin front\nbefore\n0.3\nnight\nthe dark\n0.4\nevening\nnight\n"


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "paraphrase-en.gz"
    path.write_bytes(gzip.compress(TABLE.encode()))
    return path


def said_for(paraphrases: Paraphrases, text: str) -> list[str]:
    """What may stand for the phrase that a text is."""
    numbers = [paraphrases.words.get(word, 0) for word in text.split()]
    (found,) = paraphrases.find([numbers])
    (phrase,) = [phrase for place, length, phrase, _ in found if (place, length) == (0, len(numbers))]
    texts = ["night", "evening", "in front", "before", "the dark"]
    lines = [[paraphrases.words[word] for word in each.split()] for each in texts]
    names = {
        phrase: text
        for text, line, entries in zip(texts, lines, paraphrases.find(lines), strict=True)
        for _, length, phrase, _ in entries
        if length == len(line)
    }
    return [names[target] for target in paraphrases.targets(phrase)]


def test_paraphrases_of_a_phrase_are_in_the_order_of_the_table(source, tmp_path):
    paraphrases = Paraphrases(store.open_arrays(source, tmp_path / "cache"))

    assert said_for(paraphrases, "night") == ["evening", "the dark"]
    assert said_for(paraphrases, "in front") == ["before"]
    assert said_for(paraphrases, "before") == []


def test_paraphrases_find_no_phrase_over_the_end_of_a_caption(source, tmp_path):
    paraphrases = Paraphrases(store.open_arrays(source, tmp_path / "cache"))
    the, dark, within, front = (paraphrases.words[word] for word in ("the", "dark", "in", "front"))

    found = list(paraphrases.find([[within], [front, 0, the, dark], [], [the]]))

    assert [[entry[:2] for entry in entries] for entries in found] == [[], [(2, 2)], [], []]
    assert found[1][0][3] is False  # nothing stands for it


def test_open_arrays_second_time_compiles_nothing(source, tmp_path, monkeypatch):
    first = store.open_arrays(source, tmp_path / "cache")
    monkeypatch.setattr(store, "compile_paraphrases", pytest.fail)

    second = store.open_arrays(source, tmp_path / "cache")

    assert {name: values.tolist() for name, values in first.items()} == {n: v.tolist() for n, v in second.items()}


def test_open_arrays_other_table_is_another_file(source, tmp_path):
    store.open_arrays(source, tmp_path / "cache")
    source.write_bytes(gzip.compress(TABLE.replace("dark", "moon").encode()))

    assert "moon" in Paraphrases(store.open_arrays(source, tmp_path / "cache")).words
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 2


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:-9] + b"x" + data[-8:], lambda _: b"{}"])
def test_open_arrays_damaged_file_is_compiled_again(source, tmp_path, caplog, change):
    store.open_arrays(source, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.bin")
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(change(whole))

    with caplog.at_level(logging.WARNING):
        found = store.open_arrays(source, tmp_path / "cache")

    assert "damaged" in caplog.text
    assert said_for(Paraphrases(found), "night") == ["evening", "the dark"]
    assert kept.read_bytes() == whole


def test_open_arrays_folder_that_cannot_be_used_still_gives_them(source, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file")

    found = store.open_arrays(source, tmp_path / "cache")

    assert said_for(Paraphrases(found), "night") == ["evening", "the dark"]
    assert "cannot be kept" in caplog.text
    assert "XDG_CACHE_HOME" in caplog.text


def test_open_arrays_full_disk_still_gives_them_and_leaves_nothing(source, tmp_path, caplog, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_bytes", full)

    found = store.open_arrays(source, tmp_path / "cache")

    assert said_for(Paraphrases(found), "evening") == ["night"]
    assert "No space left on device" in caplog.text
    assert list((tmp_path / "cache").glob("*.bin*")) == []


def test_open_arrays_two_processes_compile_once(source, tmp_path):
    program = (
        "import logging, sys; from pathlib import Path; from metrics.meteor import store\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "store.open_arrays(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(source), str(tmp_path / "cache")]
    root = Path(__file__).parents[3]
    both = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sum("compiling" in text for text in told) == 1


@pytest.mark.parametrize(
    ("text", "cut", "reason"),
    [
        (TABLE, 12, "damaged"),
        ("", 0, "has no paraphrases"),
        ("0.1\nnight\n", 0, "damaged"),
        ("0.1\nnight\n\n", 0, "a phrase of 0 words"),
    ],
)
def test_compile_paraphrases_damaged_file_is_refused(tmp_path, text, cut, reason):
    whole = gzip.compress(text.encode())
    (tmp_path / "p.gz").write_bytes(whole[: len(whole) - cut])

    with pytest.raises(ValueError, match=reason):
        compile_paraphrases(tmp_path / "p.gz", lambda done: None)


def test_compile_paraphrases_file_that_is_not_packed_is_refused(tmp_path):
    (tmp_path / "p.gz").write_text(TABLE)

    with pytest.raises(ValueError, match="damaged"):
        compile_paraphrases(tmp_path / "p.gz", lambda done: None)


def test_lexicon_damaged_jar_is_refused(tmp_path):
    (tmp_path / "a.jar").write_bytes(b"PK no")
    with pytest.raises(ValueError, match=r"a\.jar: not METEOR 1\.5's jar"):
        Lexicon(tmp_path / "a.jar")
    with zipfile.ZipFile(tmp_path / "b.jar", "w") as archive:
        archive.writestr("function/english.words", "the\n")
    with pytest.raises(ValueError, match="nonbreaking"):
        Lexicon(tmp_path / "b.jar")


def test_find_sources_missing_files_are_named(tmp_path, monkeypatch):
    package = tmp_path / "pycocoevalcap"
    (package / "meteor" / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "meteor" / "meteor-1.5.jar").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pycocoevalcap", raising=False)

    with pytest.raises(FileNotFoundError, match=r"paraphrase-en\.gz of pycocoevalcap; install it again"):
        store.find_sources()
