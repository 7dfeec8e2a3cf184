"""Styles and captions of other scripts, from annotation file to report and captions on the console."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

import finetune
from captioning.styled import open_styled
from models.ofa import OFAConfig, OFAForConditionalGeneration
from models.ofa.captioner import OFACaptioner
from models.ofa.tokenization_ofa import OFATokenizer
from utils.io import read_json, read_jsonl, write_json

CAPTIONS = {
    "浪漫": "我的海，我的月光。",
    "Романтичный": "красная река — «да», моя любовь!",
    "عاطفي": "القمر جميل جداً، أليس كذلك؟",
    "😂": "haha 😂 look at it, so funny!",
    "mélancolique": "l'été s'en va ; quelle tristesse !",
}


@pytest.fixture
def document(tiny_document, scenes, tmp_path):
    """Rows in five scripts on the pictures of the scenes; the rows of val write their styles otherwise."""
    pictures = sorted(path.name for path in (scenes / "images").iterdir())[:4]
    folder = tmp_path / "annotations"
    folder.mkdir()
    for split, form in (("train", "NFC"), ("val", "NFD")):
        names = {style: unicodedata.normalize(form, style.upper() if split == "val" else style) for style in CAPTIONS}
        rows = [
            {"image": picture, "style": names[style], "captions": [text]}
            for picture in pictures[: 4 if split == "train" else 2]
            for style, text in CAPTIONS.items()
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    data = {"format": "jsonl", "annotations": str(folder), "images": str(scenes / "images"), "punctuation": "keep"}
    others = {"masked_lm": {"weight": 0.5}, "unlikelihood": {"leakage": 0.1}, "train": {"epochs": 1, "batch_size": 8}}
    tiny_document["eval"]["neighbours"] = 0
    return tiny_document | others | {"data": data, "style": {"neutral": "平淡", "dropout": 0.3}}


def _run(document, tmp_path: Path, capsys) -> dict:
    write_json(tmp_path / "conf.json", document)
    assert finetune.main(["--conf", str(tmp_path / "conf.json")]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("inject", ["words", "token"])
def test_styles_of_other_scripts_are_trained_evaluated_and_asked_for(document, tmp_path, capsys, scenes, inject):
    document["style"]["inject"], document["model"]["bpe_size"] = inject, 500
    results = _run(document, tmp_path, capsys)
    run = tmp_path / "run"
    assert set(results["per_style"]) == {*CAPTIONS}
    styled = open_styled(run / "output")
    assert set(styled.settings.trained_styles) == {*CAPTIONS, "平淡"}
    for style, text in CAPTIONS.items():
        token_ids = styled.preprocessor().prompt_ids(style.upper())
        shown = styled.captioner.tokenizer.decode(token_ids)
        assert styled.registry.token_of(style) in shown
        assert styled.preprocessor().decode(styled.preprocessor().target_ids(text)) == text
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(style in page for style in CAPTIONS)
    captions = read_json(run / "eval" / "val.captions.json")
    assert {row["style"] for row in captions} == {*CAPTIONS}
    assert {row["style"] for _, row in read_jsonl(run / "samples.jsonl")} <= {*CAPTIONS}
    asked = ["caption", "--model", str(run / "output"), "--image", str(next((scenes / "images").iterdir()))]
    assert finetune.main([*asked, "--all-styles"]) == 0
    assert {line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()} == {*CAPTIONS, "平淡"}
    assert finetune.main([*asked, "--style", "романтичный"]) == 0


@pytest.mark.slow
def test_published_bpe_trains_on_other_scripts(document, tmp_path, capsys, shared):
    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tables = {"max_position_embeddings": 128, "token_bucket_size": 8, "image_bucket_size": 4, "resnet_width": 4}
    tokenizer = OFATokenizer.from_pretrained(shared / "data/ofa_bpe")
    config = OFAConfig(vocab_size=len(tokenizer), resnet_layers=[1, 1, 1], **shape, **heads, **tables)
    OFACaptioner(OFAForConditionalGeneration(config), tokenizer).save(tmp_path / "published", None)
    document["model"] = {"name": str(tmp_path / "published")}
    document["decode"] = {"num_beams": 1}
    _run(document, tmp_path, capsys)
    styled = open_styled(tmp_path / "run" / "output")
    longest = max(len(tokenizer.encode_text(text)) for text in CAPTIONS.values())
    assert styled.settings.decoding.max_length == longest
    assert styled.settings.punctuation == "keep"
    assert "decode.no_repeat_ngram_size=3" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
