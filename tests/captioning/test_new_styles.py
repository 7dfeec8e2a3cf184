"""A style is added to a model: what it says in the others stays as it is, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from captioning.encoding import encode_prompts
from captioning.styled import StyledCaptioner, open_styled
from captioning.writer import CaptionWriter
from configuration.loading import load_config
from models.settings import Decoding
from pipeline.prepare import prepare
from preprocessors.examples import CaptionExample

OLD = ("pirate", "robot", "neutral")
UNIFORMS = torch.rand(3, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def styled(tiny_document, tmp_path, request) -> StyledCaptioner:
    """An untrained captioner whose styles are injected as the test asks."""
    conf = tmp_path / "start.json"
    conf.write_text(json.dumps(tiny_document | {"style": {"inject": request.param}}))
    prepare(load_config(conf)).captioner.save_to_dir(tmp_path / "start")
    return open_styled(tmp_path / "start")


@pytest.fixture
def examples(scenes) -> list[CaptionExample]:
    pictures = sorted((scenes / "images").glob("val_*.png"))
    return [CaptionExample(f"{style}", path, style, ("",)) for style, path in zip(OLD, pictures, strict=True)]


def _says(styled: StyledCaptioner, examples: list[CaptionExample]) -> list[torch.Tensor]:
    """Encoder states, logits, drawn and searched captions."""
    captioner = styled.captioner
    writer = CaptionWriter(captioner, styled.preprocessor(), Decoding(num_beams=3, max_length=6))
    with torch.no_grad():
        encoded, _ = encode_prompts(captioner, writer.preprocessor, writer._encode(examples), guided=False)
        drawn = captioner.sample(encoded, UNIFORMS)
        logits = captioner.logits(encoded, drawn, drawable=True)
        return [encoded.last_hidden_state, logits, drawn, captioner.beams(encoded, writer.decoding)]


def _check_tables(styled: StyledCaptioner) -> None:
    module, entries = styled.captioner.module, len(styled.captioner.tokenizer)
    assert entries == module.config.vocab_size == len(module.get_input_embeddings().weight)
    assert module.decoder.embed_tokens.weight is module.encoder.embed_tokens.weight
    assert module.decoder.output_projection.weight is module.encoder.embed_tokens.weight


@pytest.mark.parametrize(
    ("styled", "text", "grown"),
    [("words", "shakespeare", 0), ("token", "<style_4>", 1), ("code", "<code_4>", 1)],
    indirect=["styled"],
)
def test_old_styles_say_the_same_bit_for_bit_and_the_new_one_starts_from_its_name(
    styled, examples, text, grown, tmp_path
):
    before, registry = _says(styled, examples), styled.registry
    table = styled.captioner.module.get_input_embeddings().weight.detach().clone()
    more = styled.with_styles(["Shakespeare", "PIRATE"], {"bard": "shakespeare"})
    assert more.registry.names == (*registry.names, "Shakespeare")
    assert more.registry.token_of("bard") == text
    more.save_to_dir(tmp_path / "more")
    for now in (more, open_styled(tmp_path / "more")):
        assert all(torch.equal(*pair) for pair in zip(before, _says(now, examples), strict=True))
        weight, tokenizer = now.captioner.module.get_input_embeddings().weight, now.captioner.tokenizer
        assert len(weight) == len(table) + grown
        assert torch.equal(weight[: len(table)], table)
        pieces = tokenizer.encode_text(" shakespeare")
        assert len(pieces) > 1
        if grown:
            assert tokenizer.encode_text(text) == [len(table)]
            assert torch.equal(weight[len(table)], table[pieces].mean(0))
        assert now.registry.hash == more.registry.hash
        _check_tables(now)


@pytest.mark.parametrize("styled", ["code"], indirect=True)
def test_code_that_the_vocabulary_has_starts_from_the_name_too(styled):
    module, tokenizer = styled.captioner.module, styled.captioner.tokenizer
    styled.captioner.start_style_tokens({"<code_9>": "a"})  # with the four codes between
    size = len(tokenizer)
    styled.with_styles(["shakespeare"])
    assert (len(tokenizer), tokenizer.num_codes) == (size, 10)
    weight = module.get_input_embeddings().weight
    row = tokenizer.convert_tokens_to_ids("<code_4>")
    assert torch.equal(weight[row], weight[tokenizer.encode_text(" shakespeare")].mean(0))


@pytest.mark.parametrize("styled", ["code"], indirect=True)
def test_styles_beyond_the_codes_are_refused_and_nothing_has_changed(styled):
    size = len(styled.captioner.tokenizer)
    styled.captioner.tokenizer.num_bins = 3  # as in published vocabularies: other entries stand behind the codes
    with pytest.raises(ValueError, match=r"5 codes for styles: the model has 4 and no room behind .*inject=token"):
        styled.with_styles(["shakespeare"])
    with pytest.raises(ValueError, match="8193 styles, but only 8192 codes"):
        styled.with_styles([f"style {number}" for number in range(8189)])
    assert len(styled.captioner.tokenizer) == size
    _check_tables(styled)


@pytest.mark.parametrize("styled", ["token"], indirect=True)
def test_style_in_another_script_starts_from_its_bytes(styled, tmp_path):
    more = styled.with_styles(["浪漫"], {"羅曼蒂克": "浪漫"})
    more.save_to_dir(tmp_path / "more")
    again, tokenizer = open_styled(tmp_path / "more"), styled.captioner.tokenizer
    assert again.registry.resolve("羅曼蒂克") == "浪漫"
    weight = again.captioner.module.get_input_embeddings().weight
    assert torch.equal(weight[-1], weight[tokenizer.encode_text(" 浪漫")].mean(0))


def test_all_styles_known_changes_nothing(start_model: Path):
    styled = open_styled(start_model)
    more = styled.with_styles([" ROBOT", "pirate"])
    assert more.registry.hash == styled.registry.hash
