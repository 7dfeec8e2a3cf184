"""Captioners of transformers go through the whole program: a folder's name is all that is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import finetune
from models import CAPTIONERS, open_captioner
from models.hf.blip import BlipNetwork
from models.hf.florence2 import Florence2Network
from models.hf.paligemma import PaliGemmaNetwork
from models.hf.smolvlm import SmolVLMNetwork
from tests.hf_folders import FAMILIES, WORDS, write_blip
from utils.io import read_jsonl, write_json

NETWORKS = {"blip": BlipNetwork, "florence2": Florence2Network, "smolvlm": SmolVLMNetwork}
NETWORKS["paligemma"] = PaliGemmaNetwork
SLOWLY = [pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES if family != "blip"]


@pytest.fixture
def document(tiny_document: dict[str, Any]) -> dict[str, Any]:
    """Configuration of a short run; the model is still to be named."""
    train = {"epochs": 1, "batch_size": 12, "lr": 5e-3}
    changes = {"train": train, "masked_lm": {"weight": 0.5}, "style": {"inject": "token", "dropout": 0.2}}
    changes["unlikelihood"] = {"repetition": 0.1, "leakage": 0.1}
    evaluation = tiny_document["eval"] | {"report_images": 1, "metrics": ["CIDEr"]}
    return tiny_document | changes | {"eval": evaluation, "decode": {"num_beams": 2, "max_length": 12, "guidance": 1.5}}


def _write(family: str, scenes: Path, folder: Path) -> str:
    captions = [text for _, row in read_jsonl(scenes / "train.jsonl") for text in row["captions"]]
    FAMILIES[family].write(folder, [*captions, *WORDS])
    return str(folder)


def _run(document: dict[str, Any], tmp_path: Path, name: str, **changes: Any) -> Path:
    run, conf = tmp_path / name, tmp_path / f"{name}.json"
    conf.write_text(json.dumps(document | changes | {"work_dir": str(run)}))
    assert finetune.main(["--conf", str(conf)]) == 0
    return run


def _numbers(run: Path, name: str) -> list[float]:
    return [row[name] for _, row in read_jsonl(run / "metrics.jsonl") if name in row]


@pytest.mark.parametrize("family", ["blip", *SLOWLY])
def test_folder_is_trained_evaluated_and_captions(family, document, scenes, tmp_path, capsys):
    model = {"name": _write(family, scenes, tmp_path / "start")}
    run = _run(document, tmp_path, "run", model=model)
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["n"] == 12
    losses = _numbers(run, "train/cross_entropy")
    assert losses[-1] < losses[0]
    assert _numbers(run, "train/masked_lm")[-1] < _numbers(run, "train/masked_lm")[0]
    for name in ("repetition", "leakage"):
        assert min(_numbers(run, f"train/unlikelihood_{name}")) > 0
    before, after = (open_captioner(folder).module for folder in (tmp_path / "start", run / "output"))
    assert type(after) is NETWORKS[family]
    for name, weight in before.vision_network().named_parameters():
        if "position" not in name:
            assert not torch.equal(weight, after.vision_network().get_parameter(name)), name

    assert finetune.main(["eval", "--conf", str(run / "config.json")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["overall"] == results["overall"]
    picture = str(next((scenes / "images").glob("*")))
    assert finetune.main(["caption", "--model", str(run / "output"), "--image", picture, "--all-styles"]) == 0
    captions = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert list(captions) == ["neutral", "pirate", "robot", "romantic"]


@pytest.mark.parametrize("family", ["blip", *SLOWLY])
def test_self_critical_step_looks_at_each_picture_once(family, document, scenes, tmp_path, monkeypatch):
    """Of the 5 captions that are drawn of each, and their scores; no row of the decoder is a caption."""
    network, looks, rows = NETWORKS[family], [], []
    look, decode = network.look, network.decode

    def count_look(self: Any, pictures: Any) -> Any:
        looks.append(len(pictures)) if torch.is_grad_enabled() else None
        return look(self, pictures)

    def count_decode(self: Any, embeddings: Any, *others: Any) -> Any:
        rows.append(len(embeddings))
        return decode(self, embeddings, *others)

    monkeypatch.setattr(network, "look", count_look)
    model = {"name": _write(family, scenes, tmp_path / "start")}
    monkeypatch.setattr(network, "decode", count_decode)
    scst = {"enabled": True, "num_samples": 5, "rewards": {"cider_d": 1.0}, "kl_weight": 0.1}
    changes = {"model": model, "masked_lm": {}, "scst": scst, "train": {"epochs": 1, "batch_size": 16, "lr": 1e-3}}
    changes |= {"style": {"inject": "token"}, "unlikelihood": {}}
    run = _run(document, tmp_path, "scst", **changes)
    assert len(_numbers(run, "train/reward")) == 3  # 48 rows, 16 a step
    assert len(looks) == 3
    assert max(looks) <= 16
    assert max(rows) <= 16
    before, after = (open_captioner(folder) for folder in (tmp_path / "start", run / "output"))
    old, new = (one.family.text_model(one.module).get_input_embeddings().weight for one in (before, after))
    assert torch.equal(old, new[: len(old)])  # frozen in self-critical training


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_resumed_run_equals_an_uninterrupted_one(family, document, scenes, tmp_path):
    changes = {"model": {"name": _write(family, scenes, tmp_path / "start")}}
    changes["checkpoint"] = {"every_epochs": 0.5, "keep_last": 9}
    run = _run(document, tmp_path, "run", **changes)
    full = open_captioner(run / "output").module.state_dict()
    (run / "checkpoints/checkpoint-4").rename(tmp_path / "gone")  # as if it had been killed after step 2
    (run / "output").rename(tmp_path / "first")
    _run(document, tmp_path, "run", **changes)
    resumed = open_captioner(run / "output").module.state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in full.items())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_vision_network_gets_its_features_from_the_cache(family, document, scenes, tmp_path):
    model, losses = {"name": _write(family, scenes, tmp_path / "start")}, []
    for limit in (0, 64):
        train = document["train"] | {"freeze": ["resnet"]}
        image = {"size": 32, "feature_cache": str(tmp_path / "features"), "feature_cache_mb": limit}
        run = _run(document, tmp_path, f"run{limit}", model=model, train=train, image=image)
        losses.append(_numbers(run, "train/loss"))
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)  # kept in float16
    assert len(list((tmp_path / "features").glob("*/part-*.bin"))) == 1


def _edit(folder: Path, file: str, **changes: Any) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | changes))


def _name_classes(folder: Path) -> None:
    _edit(folder, "config.json", architectures=["BlipForQuestionAnswering"])


def _set_vision(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        vision = json.loads((folder / "config.json").read_text())["vision_config"]
        _edit(folder, "config.json", vision_config=vision | changes)

    return edit


TEXT_ALONE = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}{% endfor %}"
NO_SLOT = r"its chat template has no place for a picture \(<image>\), so it is of a model for text alone"
REFUSED: Sequence[tuple[str, Callable[[Path], object], str]] = [
    ("blip", lambda folder: _edit(folder, "config.json", model_type="git"), "'git' model .it encodes a picture anew"),
    (
        "blip",
        lambda folder: _edit(folder, "config.json", model_type="bert"),
        f"can be opened: {', '.join(CAPTIONERS)}. docs/models.md compares them, CONTRIBUTING.md says how to add one",
    ),
    ("blip", _name_classes, "is of a BlipForQuestionAnswering; of this kind only BlipForConditionalGeneration writes"),
    *(
        (family, lambda folder: (folder / "preprocessor_config.json").unlink(), "has no processor, which says how pic")
        for family in FAMILIES
    ),
    ("blip", lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer \(tokenizer.json or vocab.txt\)"),
    ("paligemma", lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer \(tokenizer.json\)"),
    ("blip", lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
    ("smolvlm", lambda folder: (folder / "chat_template.jinja").write_text(TEXT_ALONE), NO_SLOT),
    ("smolvlm", lambda folder: write_json(folder / "chat_template.json", {"chat_template": TEXT_ALONE}), NO_SLOT),
    (
        "smolvlm",
        lambda folder: write_json(folder / "processor_config.json", {"chat_template": {"default": TEXT_ALONE}}),
        NO_SLOT,
    ),
    *(
        (family, _set_vision(hidden_size=24), "does not fit its config.json: .* has shape")
        for family in ("blip", "smolvlm")
    ),
    ("paligemma", _set_vision(image_size=64), "does not fit its config.json: .* has shape"),
    ("paligemma", _set_vision(image_size=24), "makes pictures of 32 pixels and its vision network was made for 24"),
    ("florence2", _set_vision(embed_dim=[12, 24]), "does not fit its config.json: .* has shape"),
]


@pytest.mark.parametrize(("family", "spoil", "message"), REFUSED)
def test_folder_that_cannot_be_used_ends_in_one_message(family, spoil, message, document, tmp_path, capsys):
    FAMILIES[family].write(tmp_path / "start")
    spoil(tmp_path / "start")
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps(document | {"model": {"name": str(tmp_path / "start")}}))
    assert finetune.main(["--conf", str(conf)]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, told[-1])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_style_token_that_would_be_read_in_pieces_ends_in_one_message(family, document, tmp_path, capsys):
    FAMILIES[family].write(tmp_path / "start")
    conf = tmp_path / "conf.json"
    changes = {"model": {"name": str(tmp_path / "start")}, "style": {"inject": "code"}}
    conf.write_text(json.dumps(document | changes))
    assert finetune.main(["--conf", str(conf)]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert re.search("style.inject=code: .* has no <code_0> in its vocabulary and would read it in pieces", told[-1])


@pytest.mark.parametrize("file", ["chat_template.jinja", "processor_config.json"])
def test_chat_template_with_a_picture_s_place_is_opened_and_not_run(file, tmp_path):
    """Of several the first counts, as for the library; a tokenizer's own is nobody's but its own."""
    FAMILIES["smolvlm"].write(tmp_path)
    good = "{{ cycler.__init__.__globals__.os.system('touch executed') }}<image>"
    if file.endswith("jinja"):
        (tmp_path / file).write_text(good)
        _edit(tmp_path, "tokenizer_config.json", chat_template=TEXT_ALONE)
    else:
        write_json(tmp_path / file, {"chat_template": good})
        (tmp_path / "chat_template.jinja").write_text(TEXT_ALONE)
    open_captioner(tmp_path)
    assert not Path("executed").exists()


def test_picture_size_that_the_patches_do_not_divide_is_refused(document, tmp_path, capsys):
    write_blip(tmp_path / "start")
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps(document | {"model": {"name": str(tmp_path / "start")}, "image": {"size": 36}}))
    assert finetune.main(["--conf", str(conf)]) == 2
    assert "image.size=36: the model takes multiples of 8 up to 64 pixels" in capsys.readouterr().err
