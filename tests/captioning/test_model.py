"""The Python interface: a folder opened, pictures of all kinds, captions by search and by draw, their probabilities."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from captioning.model import CaptionModel
from captioning.writing import Writing
from preprocessors.pictures.images import PictureTooLarge, UnreadablePicture
from tests.memorised_model import LEARNT
from utils.errors import NoNumbers

DRAWN = Writing(num=3, sampling="multinomial", temperature=2.0, max_length=9)


@pytest.fixture(scope="module")
def model(memorised) -> CaptionModel:
    return CaptionModel.open(memorised, device="cpu")


@pytest.fixture
def pictures(scenes) -> list[Path]:
    return sorted((scenes / "images").glob("val_*.png"))


@pytest.fixture
def passes(model):
    """Pictures that passed the vision network, and calls of the encoder."""
    counted, encoder = Counter(), model._captioner.module.encoder
    hooks = [
        encoder.embed_images.register_forward_hook(lambda module, given, out: counted.update(vision=len(out))),
        encoder.register_forward_hook(lambda *_: counted.update(encoder=1)),
    ]
    yield counted
    for hook in hooks:
        hook.remove()


def test_model_knows_its_folder_styles_and_sizes(model, memorised):
    assert (model.name, model.folder) == ("tiny", memorised)
    assert model.styles == tuple(LEARNT)
    assert (model.neutral, dict(model.aliases)) == ("neutral", {"buccaneer": "pirate"})
    assert (model.image_size, model.decoding.num_beams, model.decoding.max_length) == (32, 3, 14)
    assert model.parameters == sum(tensor.numel() for tensor in model._captioner.module.parameters())


def test_folder_that_does_not_say_how_styles_enter_and_device_that_is_none_are_refused(memorised, tmp_path):
    folder = shutil.copytree(memorised, tmp_path / "other")
    (folder / "configuration.json").write_text("{}")
    (folder / "MANIFEST.json").unlink()
    with pytest.raises(ValueError, match=r"other: configuration\.json does not say how styles enter the prompt"):
        CaptionModel.open(folder)
    with pytest.raises(ValueError, match="device='quantum': cannot be used .* try cpu"):
        CaptionModel.open(memorised, device="quantum")


def test_every_style_is_captioned_by_name_alias_or_all(model, pictures):
    found = model.caption(pictures[:2], "all", batch_size=3)
    assert [{style: one.text for style, (one,) in row.items()} for row in found] == [LEARNT] * 2
    assert [*model.caption(pictures[:1], ["Buccaneer", "pirate", None])[0]] == ["pirate", "neutral"]
    assert [*model.caption(pictures[:1])[0]] == ["neutral"]
    assert model.caption([]) == []


@pytest.mark.parametrize(("guidance", "prompts"), [(1.0, 3), (1.5, 6)])
def test_picture_passes_the_vision_network_once_for_all_its_styles(model, pictures, passes, guidance, prompts):
    model.caption(pictures, "all", Writing(guidance=guidance), batch_size=4)
    assert passes == {"vision": 3, "encoder": prompts}
    passes.clear()
    pixels = model.read(pictures[0])
    model.write([(pixels, style) for style in model.styles], Writing(guidance=guidance))
    assert passes["vision"] == 1


def _as_bytes(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_file_bytes_and_pillow_s_picture_are_one_and_upright_on_white(model, tmp_path):
    upright = Image.effect_noise((40, 24), 90).convert("RGBA")
    upright.putalpha(Image.linear_gradient("L").resize((40, 24)))
    on_white = Image.new("RGB", upright.size, "white")
    on_white.paste(upright.convert("RGB"), mask=upright.getchannel("A"))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    path = tmp_path / "x.png"
    path.write_bytes(_as_bytes(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif))
    with Image.open(path) as opened:
        kinds = [model.read(picture) for picture in (path, str(path), path.read_bytes(), opened)]
        assert opened.size == (24, 40)  # as it was
    assert all(torch.equal(kind, model.read(on_white)) for kind in kinds)
    assert kinds[0].shape == (3, 32, 32)


def test_bad_pictures_say_what_is_wrong_and_which(model, pictures, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.png: picture not found"):
        model.read(tmp_path / "no.png")
    with pytest.raises(UnreadablePicture, match="^picture: the picture cannot be read; the file is empty"):
        model.read(b"")
    with pytest.raises(UnreadablePicture, match="^picture 2 of 2: .*it is XML"):
        model.caption([pictures[0], b"<?xml version='1.0'?>"])
    with pytest.raises(PictureTooLarge, match="32 x 32 pixels, and at most 1,000 are taken"):
        model.read(pictures[0], max_pixels=1000)
    with Image.open(pictures[0]) as opened, pytest.raises(PictureTooLarge):
        model.read(opened, max_pixels=1000)
    with pytest.raises(TypeError, match="a int is no picture; give a path"):
        model.read(7)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num": 0}, r"num=0: must be a whole number from 1 to 256"),
        ({"num": 4}, r"num=4: a search with num_beams=3 finds no more than that"),
        ({"num_beams": 2.0}, r"num_beams=2\.0: must be a whole number"),
        ({"num_beams": True}, r"num_beams=True"),
        ({"max_length": 9999}, r"max_length=9999: must be a whole number from 1 to \d+$"),
        ({"min_length": 15}, r"min_length=15: must be at most max_length, which is 14"),
        ({"guidance": float("nan")}, r"guidance=nan: must be a number from 0"),
        ({"length_penalty": 2000}, r"length_penalty=2000: must be a number from -1,000 to 1,000"),
        ({"sampling": "nucleus"}, r"sampling='nucleus': must be one of beam, multinomial"),
        ({"temperature": 0.5}, r"temperature=0\.5: changes nothing with sampling=beam; leave it out, or use"),
        ({"sampling": "multinomial", "num_beams": 2}, r"num_beams=2: changes nothing with sampling=multinomial"),
        ({"sampling": "multinomial", "top_p": 0}, r"top_p=0: must be a number from 0\.001 to 1"),
        ({"prefix": " .. "}, r"prefix=' \.\. ': holds no words"),
        ({"prefix": "red " * 15}, r"has \d+ tokens, and max_length is 14; raise it"),
        ({"prefix": "word " * 3000}, r"tokens, and the model has .* positions"),
        ({"prefix": 3}, r"prefix=3: must be text"),
    ],
)
def test_writing_that_cannot_be_is_refused_with_option_and_range(model, options, said):
    with pytest.raises(ValueError, match=said):
        model.check(Writing(**options))


def test_num_gives_the_best_of_a_search_and_draws_that_depend_on_the_request_alone(model, pictures):
    pixels = [model.read(path) for path in pictures]
    ((first, second, third),) = model.write([(pixels[0], "pirate")], Writing(num=3))
    assert first.text == LEARNT["pirate"]
    assert len({first.text, second.text, third.text}) == 3
    (alone,) = model.write([(pixels[1], "robot")], DRAWN)
    others = model.write([(pixels[0], "pirate"), (pixels[1], "robot"), (pixels[2], "robot")], DRAWN)
    assert [one.text for one in others[1]] == [one.text for one in alone]
    (again,) = model.write([(model.read(pictures[1]), "robot")], replace(DRAWN, num=2))
    assert [one.text for one in again] == [one.text for one in alone[:2]]
    texts = {one.text for captions in others for one in captions}
    assert len(texts) > 6  # neither the pictures nor the draws share random numbers
    assert [one.text for one in model.write([(pixels[1], "robot")], replace(DRAWN, seed=1))[0]] != [
        one.text for one in alone
    ]


def test_drawn_captions_keep_to_their_length_and_say_whether_they_were_cut(model, pictures):
    (captions,) = model.write([(model.read(pictures[0]), "robot")], replace(DRAWN, num=30, max_length=4))
    assert {caption.cut for caption in captions} == {True, False}
    tokens = [len(model._captioner.tokenizer.encode_text(caption.text)) for caption in captions]
    assert all(caption.cut or number <= 4 for caption, number in zip(captions, tokens, strict=True))
    assert all(caption.log_prob < 0 for caption in captions)


def test_caption_cut_by_a_search_says_so(model, pictures):
    ((caption,),) = model.write([(model.read(pictures[0]), "pirate")], Writing(num_beams=1, max_length=3))
    assert (caption.text, caption.cut) == ("the captain buried", True)


def test_score_is_the_sum_by_hand_and_what_writing_said(model, pictures):
    captions = model.caption(pictures[:1], "pirate", Writing(num=3))[0]["pirate"]
    texts = [caption.text for caption in captions]
    scores = model.score(pictures[0], "buccaneer", [*texts, f"{texts[0].capitalize()}!", ""])
    assert scores[:3] == pytest.approx([caption.log_prob for caption in captions], abs=1e-3)
    tokenizer, pixels = model._captioner.tokenizer, model.read(pictures[0])
    ids = [*tokenizer.encode_text(texts[0]), tokenizer.eos_token_id]
    shown = model._styled.preprocessor().image_transform.normalise(pixels)[None]
    prompt = torch.tensor([model._styled.preprocessor().prompt_ids("pirate")])
    with torch.no_grad():
        logits = model._captioner.logits(
            model._captioner.encode({"input_ids": prompt, "patch_images": shown}), torch.tensor([ids]), drawable=True
        )
    by_hand = logits[0].double().softmax(-1)[range(len(ids)), ids].log().sum()
    assert scores[0] == pytest.approx(float(by_hand), abs=1e-4)
    assert scores[3] < scores[0]  # punctuation is taken off, but a capital is another letter
    assert scores[4] < scores[0]  # the end alone
    with pytest.raises(ValueError, match="has .* tokens, and the model has"):
        model.score(pictures[0], None, ["word " * 3000])


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("options", [{}, {"sampling": "multinomial", "temperature": 1.5}])
def test_captions_go_on_from_a_prefix_as_it_was_written(model, pictures, guidance, options):
    writing = Writing(num=2, guidance=guidance, prefix="the captain,  buried", **options)
    for captions in model.caption(pictures[:2], ["pirate", "robot"], writing):
        for caption in (*captions["pirate"], *captions["robot"]):
            assert caption.text.startswith("the captain, buried")
    ((best, _),) = model.write([(model.read(pictures[0]), "pirate")], Writing(num=2, prefix="the captain"))
    assert best.text == LEARNT["pirate"]
    assert model.score(pictures[0], "pirate", [best.text]) == pytest.approx([best.log_prob], abs=1e-4)


def test_pictures_are_read_in_threads_and_callers_take_turns(model, pictures):
    pixels = [model.read(path) for path in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(torch.equal, pool.map(model.read, pictures * 4), pixels * 4))
        found = pool.map(lambda style: model.write([(pixels[0], style)], Writing()), [*LEARNT] * 3)
        assert [caption.text for ((caption,),) in found] == [*LEARNT.values()] * 3


@pytest.mark.parametrize("writing", [Writing(), DRAWN])
def test_model_that_gives_no_numbers_gives_no_captions(memorised, pictures, writing):
    model = CaptionModel.open(memorised, device="cpu")
    with torch.no_grad():
        model._captioner.module.decoder.layer_norm.bias.fill_(float("nan"))
    with pytest.raises(NoNumbers, match="are NaN or infinite"):
        model.caption(pictures[:1], "pirate", writing)
    with pytest.raises(NoNumbers, match="are NaN or infinite"):
        model.score(pictures[0], "pirate", ["a"])


def test_batch_that_does_not_fit_is_written_in_halves(memorised, pictures, monkeypatch):
    model = CaptionModel.open(memorised, device="cpu")
    beams, sizes = model._captioner.beams, []

    def few(encoded, *given, **options):
        sizes.append(len(encoded.last_hidden_state))
        if sizes[-1] > 2:
            raise RuntimeError("CUDA out of memory")
        return beams(encoded, *given, **options)

    monkeypatch.setattr(model._captioner, "beams", few)
    found = model.caption(pictures[:1], "all")
    assert {style: one.text for style, (one,) in found[0].items()} == LEARNT
    assert sizes == [4, 2, 2]


def test_nothing_asked_for_is_nothing_written(model, pictures):
    assert model.write([], Writing()) == []
    assert model.caption([], "all") == []
    assert model.score(pictures[0], "pirate", []) == []


def test_several_captions_that_the_prefix_leaves_no_room_for_are_refused(model, pictures):
    caption = LEARNT["pirate"]
    filled = Writing(prefix=caption, max_length=len(model._token_ids(caption)))
    ((found,),) = model.write([(model.read(pictures[0]), "pirate")], filled)
    assert found.text == caption
    with pytest.raises(ValueError, match="fills max_length=.*, so num=2 would be one caption; raise it"):
        model.check(replace(filled, num=2))


@pytest.mark.parametrize("single", ["a.jpg", Path("a.jpg"), b"\xff", Image.new("RGB", (8, 8))])
def test_one_picture_or_caption_in_place_of_a_list_is_refused(model, pictures, single):
    with pytest.raises(TypeError, match="pictures is a single .*; give a list"):
        model.caption(single)
    with pytest.raises(TypeError, match="captions is a single text, 'a red'; give a list"):
        model.score(pictures[0], "pirate", "a red")
