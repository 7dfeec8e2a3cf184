"""PaliGemma's own: its prefix, its second version, smaller pictures, the processor's labels, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PaliGemmaForConditionalGeneration, PaliGemmaProcessor, SiglipImageProcessorPil

from models import open_captioner
from models.hf.captioner import TransformersCaptioner
from models.settings import CaptionerSettings, Decoding
from preprocessors.pictures.images import MEAN_STD
from tests.hf_folders import FAMILIES, generate_with_paligemma, score_with_paligemma, write_paligemma

PICTURE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
CAPTION = [300, 301, 302, 1]


def _prompt(captioner: TransformersCaptioner, text: str) -> list[int]:
    tokenizer = captioner.tokenizer
    return [tokenizer.bos_token_id, *tokenizer.encode_text(text), tokenizer.eos_token_id]


def _set(folder, file, *keys, value):
    content = place = json.loads((folder / file).read_text())
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / file).write_text(json.dumps(content))


@torch.no_grad()
def test_second_version_is_scored_and_searched_as_by_its_class(tmp_path):
    """Gemma 2 bends its scores and logits, and half of its layers see a window."""
    own = write_paligemma(tmp_path, version=2, attn_logit_softcapping=5.0, final_logit_softcapping=7.0)
    captioner = open_captioner(tmp_path)
    prompt = _prompt(captioner, "two dogs")
    encoded = captioner.encode({"input_ids": torch.tensor([prompt]), "patch_images": PICTURE})
    logits = captioner.logits(encoded, torch.tensor([CAPTION]))[0]
    torch.testing.assert_close(logits, score_with_paligemma(own, PICTURE, prompt, CAPTION), rtol=1e-5, atol=1e-5)
    assert logits.abs().max() < 7.0
    drawable = captioner._drawable()
    banned = [n for n in range(len(captioner.tokenizer)) if n >= len(drawable) or not drawable[n]]
    options = {"max_new_tokens": 6, "suppress_tokens": banned, "num_beams": 3, "renormalize_logits": True}
    theirs = generate_with_paligemma(own, PICTURE, prompt, early_stopping=True, **options)
    decoding = Decoding(num_beams=3, max_length=5, min_length=0, no_repeat_ngram_size=0)
    ours = [token for token in captioner.beams(encoded, decoding, force_end=False)[0].tolist() if token >= 0]
    assert ours == theirs[: len(ours)]
    assert len(theirs) == len(ours)


@torch.no_grad()
def test_smaller_picture_has_fewer_tokens_with_positions_stretched_as_by_the_class(tmp_path):
    own = write_paligemma(tmp_path)
    captioner = open_captioner(tmp_path)
    small, prompt = PICTURE[..., :16, :16].contiguous(), _prompt(captioner, "a dog")
    encoded = captioner.encode({"input_ids": torch.tensor([prompt]), "patch_images": small})
    assert encoded.prefix.shape[1] == 4 + len(prompt)
    features = {"image": own.model.get_image_features(small, interpolate_pos_encoding=True)}
    ids = torch.tensor([[own.config.image_token_id] * 4 + [*prompt[:-1], *captioner.tokenizer.encode_text("\n")]])
    whole = torch.cat([ids, torch.tensor([CAPTION[:-1]])], 1)
    kinds = torch.cat([torch.zeros_like(ids), torch.ones(1, 3, dtype=torch.int64)], 1)
    theirs = own(input_ids=whole, token_type_ids=kinds, mm_encoder_outputs=features).logits[0, -4:]
    torch.testing.assert_close(captioner.logits(encoded, torch.tensor([CAPTION]))[0], theirs, rtol=1e-5, atol=1e-5)


def test_folder_of_a_run_with_smaller_pictures_opens_again(tmp_path):
    write_paligemma(tmp_path / "start")
    captioner = open_captioner(tmp_path / "start")
    decoding = Decoding(num_beams=1, max_length=5, min_length=0, no_repeat_ngram_size=0)
    captioner.save(tmp_path / "saved", CaptionerSettings(16, 16, MEAN_STD["half"], "a {}", "a", (), decoding))
    assert json.loads((tmp_path / "saved/preprocessor_config.json").read_text())["image_seq_length"] == 4
    again = open_captioner(tmp_path / "saved")
    assert again.vision().image_size == 16
    assert again.limits() == captioner.limits()


@torch.no_grad()
def test_inputs_and_loss_equal_those_of_the_processor_with_a_suffix(tmp_path):
    """A folder of ours, opened by the library: its ids and labels give the cross-entropy that ours do."""
    write_paligemma(tmp_path / "start")
    captioner = open_captioner(tmp_path / "start")
    captioner.save(tmp_path / "saved", None)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    pictures = SiglipImageProcessorPil.from_pretrained(tmp_path / "saved")
    assert pictures.image_seq_length == 16
    processor = PaliGemmaProcessor(pictures, tokenizer)
    image = Image.new("RGB", (32, 32), (200, 90, 30))
    given = processor(images=image, text="<image>a dog", suffix="runs in the snow", return_tensors="pt")
    caption = [*captioner.tokenizer.encode_text("runs in the snow"), captioner.tokenizer.eos_token_id]
    labels = given["labels"][0]
    assert labels[labels.ge(0)].tolist() == caption
    prefix = given["input_ids"][0, : -len(caption)].tolist()
    prompt = _prompt(captioner, "a dog")
    assert prefix[16:] == [*prompt[:-1], *captioner.tokenizer.encode_text("\n")]

    own = PaliGemmaForConditionalGeneration.from_pretrained(tmp_path / "saved").eval()
    inputs = {"input_ids": torch.tensor([prompt]), "patch_images": given["pixel_values"]}
    logits = captioner.logits(captioner.encode(inputs), torch.tensor([caption]))[0]
    ours = torch.nn.functional.cross_entropy(logits, torch.tensor(caption))
    torch.testing.assert_close(ours, own(**given).loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spelling", ["published", "library"])
def test_weights_open_under_the_names_they_were_published_with(spelling, tmp_path):
    own = write_paligemma(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if spelling == "published":
        old = {name.replace("vision_tower.", "vision_tower.vision_model."): tensor for name, tensor in weights.items()}
        save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
        assert "vision_tower.vision_model.post_layernorm.weight" in old
        assert "language_model.model.norm.weight" in old
    opened, state = open_captioner(tmp_path).module.state_dict(), own.state_dict()
    assert opened.keys() == state.keys()
    assert all(torch.equal(tensor, opened[name]) for name, tensor in state.items())


def test_one_weight_under_two_names_is_refused(tmp_path):
    write_paligemma(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    twice = weights | {"model.language_model.norm.weight": weights["language_model.model.norm.weight"].clone()}
    save_file(twice, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"they hold model\.language_model\.norm\.weight under two names"):
        open_captioner(tmp_path)


def test_characters_outside_of_the_vocabulary_come_back_from_their_bytes(tmp_path):
    write_paligemma(tmp_path)
    tokenizer = open_captioner(tmp_path).tokenizer
    ids = tokenizer.encode_text("a \N{DOG FACE} runs")
    assert len(ids) > 5
    assert tokenizer.decode_caption(ids) == "a \N{DOG FACE} runs"
    assert tokenizer.decode_caption(ids[:-2][:4]) == "a"  # cut within the character
    for text in ("<table>", "<eos>", "[multimodal]", "<image>", "<loc0000>"):
        assert tokenizer.library.token_to_id(text) not in tokenizer.encode_text(text)
        assert not tokenizer.pieces()[tokenizer.library.token_to_id(text)]


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        ("config.json", ("projection_dim",), 20, "projection_dim=20 must be text_config.hidden_size=24"),
        ("config.json", ("vision_config", "patch_size"), 12, "image_size=32 must be a multiple of patch_size=12"),
        ("config.json", ("text_config", "max_position_embeddings"), 64, "16 tokens, and the language model sees 64"),
        ("config.json", ("text_config", "model_type"), "llama", "'gemma', 'gemma2'"),
        ("config.json", ("text_config", "bos_token_id"), 4, "<bos> is missing or has another id"),
        ("config.json", ("vision_config", "model_type"), "clip_vision_model", "siglip_vision_model"),
        ("preprocessor_config.json", ("size",), {"height": 64, "width": 64}, "pictures of 64 pixels .* made for 32"),
        ("tokenizer.json", ("model", "vocab", "<0x41>"), None, "must number its entries"),
    ],
)
def test_what_does_not_fit_together_is_refused(file, keys, value, message, tmp_path):
    write_paligemma(tmp_path)
    _set(tmp_path, file, *keys, value=value)
    with pytest.raises(ValueError, match=message):
        open_captioner(tmp_path)


def test_a_picture_that_fills_gemma_2_s_window_is_refused(tmp_path):
    """Its layers with a window would see the text and lose the picture."""
    write_paligemma(tmp_path, version=2, sliding_window=70)
    with pytest.raises(ValueError, match="is 16 tokens, and the language model sees 70: no room for text"):
        open_captioner(tmp_path)


def test_families_of_the_tests_are_those_of_the_table():
    from models import CAPTIONERS

    alike = {"idefics3"}  # read as SmolVLM is, and tested beside it
    assert {kind for kind, place in CAPTIONERS.items() if ".hf." in place} == {*FAMILIES} | alike
