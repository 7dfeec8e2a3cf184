"""Model folders as they are saved, damaged and opened again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch

import finetune
from captioning.styled import open_styled
from captioning.writer import CaptionWriter
from models.settings import Decoding
from preprocessors.examples import CaptionExample
from utils.archive import pack
from utils.errors import NoNumbers
from utils.io import read_json, write_json
from utils.manifest import find_faults, seal


@pytest.fixture
def model(start_model) -> Path:
    """A sealed folder of 40,000 parameters."""
    return start_model


def _edit(folder: Path, change) -> None:
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    change(state)
    torch.save(state, folder / "pytorch_model.bin")


def test_saved_folder_is_sealed_and_every_file_of_it_is_listed(model):
    assert find_faults(model) == []
    listed = read_json(model / "MANIFEST.json")["files"]
    assert listed.keys() == {path.name for path in model.iterdir()} - {"MANIFEST.json"}
    assert not [path for path in model.parent.iterdir() if path.name.startswith((".tmp-", ".removed-"))]


def test_every_flipped_bit_of_the_weights_is_found(model):
    weights = model / "pytorch_model.bin"
    whole, draw = weights.read_bytes(), random.Random(0)
    for place in (draw.randrange(len(whole) * 8) for _ in range(40)):
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        weights.write_bytes(broken)
        with pytest.raises(ValueError, match=r"pytorch_model\.bin has other content than was saved\. Restore it"):
            open_styled(model)
    weights.write_bytes(whole)
    open_styled(model)


@pytest.mark.parametrize("change", ["absent", "empty", "half", "bit"])
def test_every_damaged_file_of_a_sealed_folder_is_named(model, change):
    for file in sorted(model.iterdir()):
        whole = file.read_bytes()
        changed = {"empty": b"", "half": whole[: len(whole) // 2], "bit": bytes([whole[0] ^ 1]) + whole[1:]}
        file.unlink() if change == "absent" else file.write_bytes(changed[change])
        if (file.name, change) != ("MANIFEST.json", "absent"):  # then it is anybody's folder
            with pytest.raises(ValueError, match=file.name):
                open_styled(model)
        file.write_bytes(whole)
    open_styled(model)


def test_weights_that_came_later_are_refused_and_sealing_takes_them_as_meant(model):
    from safetensors.torch import save_file

    state = torch.load(model / "pytorch_model.bin", weights_only=True)
    save_file({name: tensor.clone() for name, tensor in state.items()}, model / "model.safetensors")
    message = rf"model\.safetensors was not there when it was saved.*python -m utils\.archive seal {model}"
    with pytest.raises(ValueError, match=message):
        open_styled(model)
    seal(model)
    open_styled(model)


def test_folder_that_a_killed_program_had_moved_aside_is_opened(model):
    model.rename(model.with_name(f".replaced-{model.name}-0123abcd"))
    open_styled(str(model))
    assert model.is_dir()


def test_what_killed_programs_left_goes_at_the_next_save(model):
    styled = open_styled(model)
    for name in (f".removed-{model.name}-0123abcd", f".tmp-{model.name}"):
        shutil.copytree(model, model.with_name(name))
    styled.save_to_dir(model)
    left = {path.name for path in model.parent.iterdir()}
    assert not {name for name in left if name.startswith((".removed-", ".tmp-"))}
    model.rename(model.with_name(f".removed-{model.name}-0123abcd"))
    styled.save_to_dir(model)
    assert not {path.name for path in model.parent.iterdir() if path.name.startswith(".removed-")}


def test_failed_save_leaves_the_older_model(model, monkeypatch):
    before = (model / "pytorch_model.bin").read_bytes()
    styled = open_styled(model)
    with torch.no_grad():
        styled.captioner.module.decoder.layer_norm.weight += 1
    monkeypatch.setattr(torch, "save", _fail)
    with pytest.raises(OSError, match="No space left"):
        styled.save_to_dir(model)
    assert (model / "pytorch_model.bin").read_bytes() == before
    assert find_faults(model) == []


def _fail(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["encoder.embed_tokens.weight", "encoder.embed_images.bn1.running_var"])
def test_weight_that_is_no_number_is_refused_by_name(model, name, value):
    def change(state):
        state[name].flatten()[5 % state[name].numel()] = value

    _edit(model, change)
    seal(model)
    with pytest.raises(NoNumbers, match=rf"the weights are no numbers: NaN or infinite values in {name}"):
        open_styled(model)


def test_large_weights_whose_sum_overflows_are_numbers(model):
    _edit(model, lambda state: state["decoder.layers.0.fc1.weight"].fill_(3e38))
    seal(model)
    open_styled(model)


@pytest.mark.parametrize("command", ["caption", "eval"])
def test_commands_end_with_code_78_over_weights_that_are_no_numbers(model, tiny_document, tmp_path, capsys, command):
    _edit(model, lambda state: state["decoder.layers.0.fc2.bias"].fill_(float("nan")))
    seal(model)
    write_json(tmp_path / "conf.json", tiny_document)
    picture = next(Path(tiny_document["data"]["images"]).iterdir())
    arguments = {
        "caption": ["caption", "--model", str(model), "--image", str(picture)],
        "eval": ["eval", "--conf", str(tmp_path / "conf.json"), "--checkpoint", str(model)],
    }
    assert finetune.main(arguments[command]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "decoder.layers.0.fc2.bias" in captured.err
    assert "Traceback" not in captured.err


@pytest.fixture
def writer(model, tiny_document):
    """Captions with a model, and two examples for it."""
    styled = open_styled(model)
    picture = next(Path(tiny_document["data"]["images"]).iterdir())
    examples = [CaptionExample(f"{style}-1", picture, style, ("",)) for style in ("pirate", "robot")]
    return CaptionWriter(styled.captioner, styled.preprocessor(), Decoding(num_beams=2, max_length=5)), examples


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("where", ["pixels", "overflow", "one row"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_captions_of_scores_that_are_no_numbers_end_and_name_the_examples(writer, monkeypatch, beams, where, guidance):
    captions, examples = writer
    captions.decoding = Decoding(num_beams=beams, max_length=5, guidance=guidance)
    transform = captions.preprocessor.image_transform
    normalise = transform.normalise
    if where == "pixels":
        monkeypatch.setattr(transform, "normalise", lambda pixels: _spoil_first(normalise(pixels)))
    if where == "overflow":
        with torch.no_grad():
            captions.captioner.module.decoder.layer_norm.weight.fill_(3e38)
    if where == "one row":
        captions.captioner.module.decoder.layer_norm.register_forward_hook(lambda module, given, out: _spoil_last(out))
    with pytest.raises(NoNumbers, match=r"pirate-1, robot-1: the scores of captions are NaN or infinite"):
        captions.caption_batch(examples)


def _spoil_first(pixels: torch.Tensor) -> torch.Tensor:
    pixels[..., 0, 0] = float("nan")
    return pixels


def _spoil_last(hidden: torch.Tensor) -> torch.Tensor:
    hidden = hidden.clone()
    hidden[-1, -1, 0] = float("nan")
    return hidden


@pytest.mark.parametrize("beams", [1, 2])
def test_captions_of_numbers_pass_the_watch(writer, beams):
    captions, examples = writer
    captions.decoding = Decoding(num_beams=beams, max_length=5, min_length=4, no_repeat_ngram_size=1)
    assert len(captions.caption_batch(examples)) == 2


def test_archive_is_taken_by_commands_wherever_a_folder_is(model, tiny_document, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "conf.json", tiny_document | {"model": {"name": str(pack(model))}})
    archive = f"{model}.tar.gz"
    picture = str(next(Path(tiny_document["data"]["images"]).iterdir()))
    said = []
    for given in (archive, str(model)):
        assert finetune.main(["eval", "--conf", str(tmp_path / "conf.json"), "--checkpoint", given]) == 0
        said.append(capsys.readouterr().out)
        assert finetune.main(["caption", "--model", given, "--image", picture, "--all-styles"]) in (0, 2)
        captured = capsys.readouterr()
        said.append(captured.out + captured.err.replace(given, ""))
    assert said[1] == said[3]
    assert finetune.main(["--conf", str(tmp_path / "conf.json"), "--set", "train.epochs=1"]) == 0
    assert len([path for path in (tmp_path / "work_dir/.archives").iterdir() if path.is_dir()]) == 1
