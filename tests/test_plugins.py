"""A user's own captioner, data format, document source and reward term, named in the configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import finetune
from configuration.loading import load_config
from models import open_captioner
from tests import toy_captioner
from tests.toy_captioner import PROMPT, ToyCaptioner
from utils.io import hash_file

TOY = "tests.toy_captioner:ToyCaptioner"


def open_nothing(path, *, separator, links):
    """No source of documents."""
    return SimpleNamespace(num_bytes=0, fingerprint=lambda: "x")


@pytest.fixture
def conf(tiny_document, tmp_path):
    """Writes a configuration, and gives its path."""

    def write(**changes):
        path = tmp_path / "conf.json"
        path.write_text(json.dumps(tiny_document | changes))
        return str(path)

    return write


def test_own_captioner_is_trained_evaluated_and_captions(conf, scenes, tmp_path, capsys):
    file = conf(model={"preset": "nano", "kind": TOY}, style={"prompt": PROMPT}, train={"epochs": 1, "batch_size": 8})
    assert finetune.main(["--conf", file]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    output = tmp_path / "run/output"
    recorded = json.loads((tmp_path / "run/environment.json").read_text())["plugins_sha256"]
    assert recorded == {TOY: hash_file(Path(toy_captioner.__file__))}
    assert type(open_captioner(output, TOY)) is ToyCaptioner
    assert finetune.main(["eval", "--conf", str(tmp_path / "run/config.json")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["overall"] == results["overall"]
    command = ["caption", "--model", str(output), "--image", str(next((scenes / "images").glob("*")))]
    assert finetune.main([*command, "--kind", TOY]) == 0
    assert capsys.readouterr().out.strip()
    assert finetune.main(command) == 2
    assert "config.json is of a 'toy' model; captioners that can be opened: ofa" in capsys.readouterr().err


def test_received_folder_that_names_code_is_refused_and_imports_nothing(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "tests.contract.broken:BlindCaptioner"}')
    sys.modules.pop("tests.contract.broken", None)
    with pytest.raises(ValueError, match="is of a 'tests.contract.broken:BlindCaptioner' model; captioners that can"):
        open_captioner(tmp_path)
    assert "tests.contract.broken" not in sys.modules


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"preset": "nano", "kind": "ofo"}}, "unknown kind of captioner; did you mean ofa? known: ofa"),
        ({"model": {"preset": "nano", "kind": "json:loads"}}, "json:loads: is no class but a function"),
        ({"model": {"preset": "nano", "kind": "json:JSONDecoder"}}, "it lacks open, new, save, save_companions"),
        ({"data": {"format": "json:loads"}}, "json:loads: is a function; name a preprocessors.formats.rows.Format"),
        ({"scst": {"rewards": {"no.such:term": 1.0}}}, "no.such:term: there is no module no"),
        ({"documents": {"format": "json:__name__"}}, "json:__name__: is a str; name a function that opens documents"),
    ],
)
def test_own_part_that_cannot_be_used_is_one_message_and_nothing_written(conf, tmp_path, capsys, changes, told):
    assert finetune.main(["--conf", conf(**changes)]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_own_data_format_is_read_as_one_of_the_table(conf, tiny_document):
    from pipeline.data import read_split

    named = load_config(conf(data=tiny_document["data"] | {"format": "preprocessors.formats.jsonl:FORMAT"}))
    known = load_config(conf(data=tiny_document["data"] | {"format": "jsonl"}))
    assert [*read_split(named.data, "train").examples] == [*read_split(known.data, "train").examples]


def test_own_document_source_is_encoded_as_one_of_the_table(tmp_path, capsys):
    documents = tmp_path / "train.jsonl"
    documents.write_text("".join(json.dumps({"body": f"a dog runs {n} times"}) + "\n" for n in range(9)))

    def encode(source):
        conf = {"task": "text", "model": {"preset": "nano", "bpe_size": 300}, "work_dir": str(tmp_path / "run")}
        conf |= {"documents": {"format": source, "train": str(documents), "encoded": str(tmp_path / source[:4])}}
        (tmp_path / "conf.json").write_text(json.dumps(conf))
        code = finetune.main(["encode", "--conf", str(tmp_path / "conf.json")])
        return code, [file.read_bytes() for file in sorted((tmp_path / source[:4]).glob("train-*/tokens.bin"))]

    code, tokens = encode("preprocessors.documents.sources:open_jsonl")
    assert (code, len(tokens)) == (0, 1)
    assert tokens == encode("jsonl")[1]
    assert encode("tests.test_plugins:open_nothing")[0] == 2
    assert "tests.test_plugins:open_nothing: is no DocumentSource: it lacks read" in capsys.readouterr().err
