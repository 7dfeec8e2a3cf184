"""From a configuration to encoded documents: vocabularies, styles, what is kept, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configuration.loading import load_config
from finetune import main
from models.ofa import OFATokenizer
from pipeline import documents as documents_module
from pipeline.documents import EncodedSplit, encode_split, open_vocabulary
from pipeline.vocabulary import Vocabulary
from preprocessors.documents.folders import open_text_tokenizer
from preprocessors.text.bpe import train_bpe
from preprocessors.text.styles import StyleRegistry
from utils import exit_codes

Documents = dict[str, Any]


@pytest.fixture
def described(tmp_path: Path) -> Documents:
    """A text run on twelve documents in two styles, and three to validate on."""
    for name, number in (("train", 12), ("val", 3)):
        rows = [
            {"body": f"the {name} dog {place} barks", "meta": ["Sweet", "sour"][place % 2]} for place in range(number)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "val")}
    return {
        "task": "text",
        "model": {"preset": "nano", "bpe_size": 300},
        "documents": {"format": "jsonl", **files},
        "work_dir": str(tmp_path / "runs/a"),
    }


@pytest.fixture
def captioner(tmp_path: Path) -> Path:
    """What a text model takes of a captioner's folder: tokenizer, a token for a style."""
    folder = tmp_path / "captioner"
    train_bpe(["the dog sat on the mat"], folder, 300)
    appended = {"num_codes": 4, "num_bins": 0, "style_tokens": ["<style_0>", "<style_1>"]}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "OFATokenizer", **appended}))
    StyleRegistry(["sweet"], inject="token").save_to_dir(folder)
    return folder


def encoded(described: Documents, split: Any = "train", **documents: Any) -> tuple[Vocabulary, EncodedSplit]:
    conf = Path(described["work_dir"]).parent.parent / "conf.json"
    conf.write_text(json.dumps(described | {"documents": described["documents"] | documents}))
    config = load_config(conf)
    vocabulary = open_vocabulary(config)
    found = encode_split(config, split, vocabulary)
    assert found is not None
    return vocabulary, found


def first_of(vocabulary: Vocabulary, found: EncodedSplit) -> tuple[str, str]:
    code, body = found.bins[0]
    return vocabulary.tokenizer.decode(code), vocabulary.tokenizer.decode(body)


def test_documents_with_words_of_any_kind_get_a_bpe_of_their_own(described: Documents):
    vocabulary, found = encoded(described)
    assert first_of(vocabulary, found) == ("Sweet\n", "the train dog 0 barks")
    assert vocabulary.registry is None
    assert 260 < len(vocabulary.tokenizer) <= 300
    assert len(vocabulary.tokenizer.encode_batch([" dog"])[0]) == 1


def test_documents_in_styles_get_a_registry_in_the_order_of_names(described: Documents):
    described["style"] = {"aliases": {"acid": "sour"}}
    vocabulary, found = encoded(described, codes="styles")
    assert vocabulary.registry is not None
    assert vocabulary.registry.names == ("sour", "Sweet", "neutral")
    assert vocabulary.registry.resolve("acid") == "sour"
    assert first_of(vocabulary, found) == ("sweet\n", "the train dog 0 barks")


def test_documents_in_styles_get_a_token_for_each(described: Documents):
    described["style"] = {"inject": "token"}
    vocabulary, found = encoded(described, codes="styles")
    assert (
        found.bins[0].code.tolist() == vocabulary.tokenizer.encode_code("<style_1>") == [len(vocabulary.tokenizer) - 2]
    )
    described["style"] = {"inject": "code"}
    with pytest.raises(ValueError, match="style.inject=code: the tokenizer has no code for 'sour'"):
        encoded(described, codes="styles")


def test_new_text_model_gets_a_captioners_ids_and_styles_and_further_styles_behind_them(
    described: Documents, captioner: Path
):
    vocabulary, found = encoded(described, tokenizer=str(captioner))
    assert vocabulary.registry is not None
    assert vocabulary.registry.names == ("sweet", "neutral", "sour")
    theirs = OFATokenizer.load_from_dir(captioner)
    assert found.bins[0].body.tolist() == theirs.encode_text("the train dog 0 barks")
    assert found.bins[0].code.tolist() == theirs.encode_text("<style_0>")
    assert found.bins[1].code.tolist() == [len(theirs)]


def test_model_to_start_from_reads_documents_as_it_was_trained_to(described: Documents, captioner: Path):
    described["model"] = {"name": str(captioner)}
    (captioner / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"train\.jsonl, line 2: unknown style 'sour'"):
        encoded(described)
    with pytest.raises(ValueError, match=r"documents\.codes=words: .*captioner has styles, and keeps what it has"):
        encoded(described, codes="words")
    vocabulary, found = encoded(described, on_bad_row="skip")
    assert found.bins.about["skipped"] == {"unknown style": 6}
    assert vocabulary.tokenizer.digest() == open_text_tokenizer(captioner).digest()


def test_captions_are_documents_in_their_styles(described: Documents, scenes: Path):
    described["data"] = {"format": "jsonl", "annotations": str(scenes), "images": str(scenes / "images")}
    del described["documents"]
    vocabulary, found = encoded({**described, "documents": {}})
    rows = [json.loads(line) for line in (scenes / "train.jsonl").read_text().splitlines()]
    captions = [row["captions"] for row in rows]
    written = [caption for each in captions for caption in ([each] if isinstance(each, str) else each)]
    assert len(found.bins) == len(written)
    assert vocabulary.registry is not None
    assert {row["style"] for row in rows} <= {*vocabulary.registry.names}
    assert first_of(vocabulary, found)[1].split() == written[0].translate({ord(sign): None for sign in ",.!'-"}).split()


def test_what_is_encoded_is_kept_until_documents_or_settings_are_others(
    described: Documents, tmp_path: Path, monkeypatch
):
    _, first = encoded(described)
    monkeypatch.setattr(documents_module, "encode", lambda *_: pytest.fail("encoded again"))
    _, again = encoded(described)
    assert (again.bins.folder, again.megabytes) == (first.bins.folder, 0)
    monkeypatch.undo()
    _, cut = encoded(described, max_body_len=3)
    assert cut.bins.folder != first.bins.folder
    assert max(cut.bins.body_lengths()) == 3
    (tmp_path / "train.jsonl").write_text('{"body": "another"}\n')
    vocabulary, other = encoded(described)
    assert first_of(vocabulary, other) == ("", "another")


def test_documents_that_were_encoded_without_links_are_encoded_again_with_them(described: Documents, tmp_path: Path):
    rows = [{"body": "the dog barks", "title": "dog"}, {"body": "the cat and [the dog](dog)"}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, plain = encoded(described)
    assert plain.bins.links is None
    _, linked = encoded(described, links=True)
    assert linked.bins.links is not None
    assert [linked.bins.links.of(number) for number in range(2)] == [[], [0]]
    _, again = encoded(described)
    assert (again.bins.folder, again.bins.links) == (plain.bins.folder, None)


def test_split_that_is_not_named_is_none(described: Documents, tmp_path: Path):
    (tmp_path / "conf.json").write_text(json.dumps(described))
    config = load_config(tmp_path / "conf.json")
    assert encode_split(config, "test", open_vocabulary(config)) is None


def test_too_many_styles_are_refused(described: Documents, monkeypatch):
    monkeypatch.setattr("pipeline.vocabulary.MOST_STYLES", 1)
    with pytest.raises(ValueError, match=r"line 2: more than 1 different meta up to here.*documents\.codes=words"):
        encoded(described, codes="styles")


def test_encode_command_prints_what_it_made(described: Documents, tmp_path: Path, capsys):
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps(described))
    assert main(["encode", "--conf", str(conf)]) == exit_codes.FINISHED
    told = json.loads(capsys.readouterr().out)
    assert {name: split["documents"] for name, split in told["splits"].items()} == {"train": 12, "val": 3}
    assert not told["splits"]["val"]["was_there"]
    assert told["peak_mb"]["here"] > 0
    assert (Path(told["splits"]["train"]["folder"]) / "tokens.bin").is_file()
    assert main(["encode", "--conf", str(conf)]) == exit_codes.FINISHED
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["was_there"]


def test_encode_command_bad_documents_end_it_with_one_message(described: Documents, tmp_path: Path, capsys):
    conf = tmp_path / "conf.json"
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write("{\n")
    conf.write_text(json.dumps(described))
    assert main(["encode", "--conf", str(conf)]) == exit_codes.BAD_INPUT
    assert "train.jsonl, line 13, column 2: not valid JSON" in capsys.readouterr().err.splitlines()[-1]
    assert not [*(tmp_path / "runs").rglob("tokens.bin")]
    assert main(["encode", "--conf", str(conf), "--set", "documents.on_bad_row=skip"]) == exit_codes.FINISHED
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["skipped"] == {"not JSON": 1}


def test_encode_command_of_a_captioner_has_nothing_to_do(tiny_document: Documents, tmp_path: Path, capsys):
    (tmp_path / "conf.json").write_text(json.dumps(tiny_document))
    assert main(["encode", "--conf", str(tmp_path / "conf.json")]) == exit_codes.BAD_INPUT
    assert "task=captions: has no documents to encode" in capsys.readouterr().err
