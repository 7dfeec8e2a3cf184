from __future__ import annotations

import pytest

from models.ofa import OFATokenizer
from preprocessors.examples import CaptionExample
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.bpe import train_bpe
from preprocessors.text.captions import clean_caption, encode_caption, strip_costs
from preprocessors.text.styles import StyleRegistry

AS_WRITTEN = [
    '"We\'re nearly there," she said.',
    "“We’re nearly there,” she said.",
    "Don't wake him, he's dreaming!",
    "Well-worn boots -- a good day's work; isn't it?",
    "rock 'n' roll & the dogs' owners' tails",
    "1,000 steps, 3.5 km, $20 at 7:30 (or so)",
    "wait... what… no!",
    "see https://example.org/a_b?c=d&e=f#g or @me #sunset",
    "👩‍👩‍👧 love ❤️ the 🏳️‍🌈, 🏴󠁧󠁢󠁥󠁮󠁧󠁿!",
    "naïve café, Ångström, Łódź — ¿qué?",
    "Quelle vue ! « Enfin » : la mer ; et toi ?",
    "我在海边，很开心。你好！",
    "海は青い、空も。",
    "ผู้หญิงที่สวยมาก",
    "عاطفي جداً، أليس كذلك؟",
    "красная река — «да»",
    "</s> <s> a <mask> of <code_3> & <bin_1>, 1 < 2 > 0, <<<",
    ":) ;-) <3 o_O",
    "50% off* [sic] {x} C:\\dir ~ ^ `code`",
]


@pytest.fixture(scope="module")
def own_bpe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    train_bpe(AS_WRITTEN, folder, 320, punctuation="keep")
    return OFATokenizer.load_from_dir(folder, num_codes=5, num_bins=2)


@pytest.fixture(scope="module")
def published_bpe(shared):
    return OFATokenizer.load_from_dir(shared / "data/ofa_bpe")


def _preprocessor(tokenizer, punctuation="keep"):
    registry = StyleRegistry(["calm"])
    return OFAStylePreprocessor(tokenizer, registry, image_transform=ImageTransform(4), punctuation=punctuation)


@pytest.mark.parametrize("caption", AS_WRITTEN)
@pytest.mark.parametrize("bpe", ["own_bpe", "published_bpe"])
def test_keep_caption_comes_back_as_written_from_its_target(request, bpe, caption):
    preprocessor = _preprocessor(request.getfixturevalue(bpe))
    token_ids = preprocessor.target_ids(caption)
    assert preprocessor.decode(token_ids) == caption
    assert token_ids.index(preprocessor.tokenizer.eos_token_id) == len(token_ids) - 1


def test_keep_white_space_becomes_single_spaces(own_bpe):
    preprocessor = _preprocessor(own_bpe)
    written = "  Two  dogs,\tone\u00a0cat\u3000here.\n"
    assert preprocessor.decode(preprocessor.target_ids(written)) == "Two dogs, one cat here."


def test_strip_is_ofa_s_rule_and_the_default(own_bpe):
    caption = '"We\'re  nearly-there," she said.'
    assert clean_caption(caption) == clean_caption(caption, punctuation="strip") == "Were nearlythere she said"
    plain = _preprocessor(own_bpe, "strip")
    assert plain.decode(plain.target_ids(caption)) == "Were nearlythere she said"


def test_clean_caption_keeps_so_many_words_by_either_rule():
    assert clean_caption("one, two, three", 2) == "one two"
    assert clean_caption("one , two , three", 2, punctuation="keep") == "one, two,"


def test_encode_caption_takes_nothing_for_a_special_token_and_cuts_after_so_many(own_bpe):
    assert own_bpe.encode_text("a <s>")[-1] == own_bpe.bos_token_id
    token_ids = encode_caption(own_bpe, "a <s> b")
    assert not {own_bpe.bos_token_id, own_bpe.eos_token_id} & {*token_ids}
    assert own_bpe.decode(token_ids) == "a <s> b"
    assert encode_caption(own_bpe, "a <s> b", max_length=3) == token_ids[:3]
    assert encode_caption(own_bpe, "a dog") == own_bpe.encode_text("a dog")


def test_decode_caption_cut_inside_a_character_ends_before_it(own_bpe):
    token_ids = own_bpe.encode_text("a 龍")  # not in the captions, so every byte is a token
    assert own_bpe.decode_caption(token_ids) == "a 龍"
    assert own_bpe.decode(token_ids[:-1]).endswith("\ufffd")
    assert own_bpe.decode_caption(token_ids[:-1]) == own_bpe.decode_caption(token_ids[:-2]) == "a"


def test_strip_costs_count_marks_and_changed_words_in_written_and_tokenised_captions():
    captions = ["a dog", "A dog.", "it's a dog", "it 's a dog .", "a well-worn, 3.5 m rope", "two , three", "“ja”"]
    assert strip_costs(captions) == (7, 5, 3)
    assert strip_costs([]) == (0, 0, 0)


def test_caption_of_an_example_is_trained_by_the_rule_of_its_preprocessor(own_bpe, pictures):
    example = CaptionExample("a.png#calm", pictures / "a.png", "calm", ("Isn't it?",))
    for punctuation, text in (("keep", "Isn't it?"), ("strip", "Isnt it")):
        preprocessor = _preprocessor(own_bpe, punctuation)
        assert preprocessor.decode(preprocessor.encode(example)["labels"]) == text
