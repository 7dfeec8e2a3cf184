"""Everything that is kept in a folder comes back from it equal: by content, never by type alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from captioning.styled import StyledCaptioner
from models.captioner import NewModel
from models.ofa import OFATokenizer
from models.ofa.captioner import OFACaptioner
from models.settings import CaptionerSettings, Decoding
from models.style_lm import StyleLM
from preprocessors.documents.byte_pairs import BytePairTokenizer
from preprocessors.documents.interface import Document
from preprocessors.documents.token_bins import TokenBins
from preprocessors.documents.training import train_tokenizer
from preprocessors.pictures.images import MEAN_STD
from preprocessors.text.styles import StyleRegistry
from tests.preprocessors.documents.written import write_documents
from trainers.loop_state import LoopState
from utils.saved import Saved

TEXTS = ["a dog runs along the beach", "Zwei Hunde, naïve café 🐕", "<style_0> is no <s>"]
STYLES = StyleRegistry(["Calm", "dry-humorous"], inject="token", aliases={"funny": "dry-humorous"})
SETTINGS = CaptionerSettings(
    32, 40, MEAN_STD["imagenet"], "a {} reply", "a neutral reply", ("Calm",), Decoding(2, 9, 1, 0, 0.7, 1.5), "keep"
)


class Kind(NamedTuple):
    """Something that is saved."""

    make: Callable[[Path], Saved]
    """Given a folder for what it is made from."""
    content: Callable[[Any], object]
    """Whatever decides what it does, to be compared."""


def _captioner(folder: Path) -> StyledCaptioner:
    shape = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 40, "decoder_ffn_dim": 44}
    shape |= {"encoder_attention_heads": 4, "decoder_attention_heads": 2, "resnet_width": 4, "resnet_layers": [1, 1, 1]}
    captioner = OFACaptioner.new(NewModel("nano", shape, TEXTS, TEXTS, bpe_size=300, num_codes=0, seed=3))
    captioner.add_style_tokens({STYLES.token_of(name): name for name in STYLES.names})
    return StyledCaptioner(captioner, STYLES, SETTINGS)


def _of_captioner(styled: StyledCaptioner) -> object:
    weights, tokenizer = styled.captioner.module.state_dict(), styled.captioner.tokenizer
    return _weights(weights), _ids(tokenizer.encode_text), _of_registry(styled.registry), styled.settings


def _text_tokenizer(folder: Path) -> BytePairTokenizer:
    return train_tokenizer(TEXTS, 290).extended(["<style_0>"])


def _of_text_tokenizer(tokenizer: BytePairTokenizer) -> object:
    codes = [tokenizer.encode_code(f"a <style_{k}>") for k in range(2)]
    return tokenizer.digest(), len(tokenizer), tokenizer.encode_batch(TEXTS), codes, tokenizer.bos_id, tokenizer.eos_id


def _lm(folder: Path) -> StyleLM:
    return StyleLM.new(_text_tokenizer(folder), StyleRegistry(["calm"]), positions=24, seed=4)


def _of_lm(lm: StyleLM) -> object:
    assert lm.registry is not None
    return _weights(lm.network.state_dict()), _of_text_tokenizer(lm.tokenizer), _of_registry(lm.registry), lm.positions


def _ofa_tokenizer(folder: Path) -> OFATokenizer:
    tokenizer: OFATokenizer = _captioner(folder).captioner.tokenizer
    return tokenizer


def _bins(folder: Path) -> TokenBins:
    documents = [Document("one", title="a", links=("b",)), Document("two", ("meta",), title="b"), Document("three")]
    return write_documents(folder / "encoded", *documents)


def _of_bins(bins: TokenBins) -> object:
    documents = [(encoded.code.tolist(), encoded.body.tolist()) for encoded in map(bins.__getitem__, range(len(bins)))]
    assert bins.links is not None
    return documents, [bins.links.of(number) for number in range(len(bins))], bins.about


def _of_registry(registry: StyleRegistry) -> object:
    return registry.hash, registry.names, registry.aliases, registry.neutral, registry.inject


def _of_loop(state: LoopState) -> object:
    assert math.isnan(state.loss_since_log)  # which no comparison would find
    return state.last_logged, state.awaits_validation, state.seconds, state.meter, state.extra


def _weights(weights: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in weights.items()}


def _ids(encode: Callable[[str], list[int]]) -> list[list[int]]:
    return [encode(text) for text in TEXTS]


KINDS = {
    "captioner": Kind(_captioner, _of_captioner),
    "language model": Kind(_lm, _of_lm),
    "tokenizer of a captioner": Kind(
        _ofa_tokenizer, lambda item: (_ids(item.encode_text), len(item), item.style_tokens, item.pieces())
    ),
    "tokenizer of a text model": Kind(_text_tokenizer, _of_text_tokenizer),
    "styles": Kind(lambda folder: STYLES, _of_registry),
    "encoded documents": Kind(_bins, _of_bins),
    "loop of a training": Kind(
        lambda folder: LoopState(math.nan, 7, True, 2.5, {"sums": {"loss": [1.0, 2]}}, {"memory": {"rows": None}}),
        _of_loop,
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_saved_is_loaded_equal(name, tmp_path):
    kind = KINDS[name]
    before = kind.make(tmp_path / "made")
    wanted, place = kind.content(before), tmp_path / "kept"
    place.mkdir()
    before.save_to_dir(place)
    again = type(before).load_from_dir(place)
    assert kind.content(again) == wanted
    again.save_to_dir(place)  # in place of itself, as a run that goes on does
    assert kind.content(type(before).load_from_dir(place)) == wanted


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_there_or_damaged_is_refused_with_its_file(name, tmp_path):
    kind = KINDS[name]
    made = kind.make(tmp_path / "made")
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        type(made).load_from_dir(tmp_path / "nothing")
    place = tmp_path / "kept"
    place.mkdir()
    made.save_to_dir(place)
    for path in place.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=str(place)):
        type(made).load_from_dir(place)
