from __future__ import annotations

import json

import pytest

from metrics.evaluate import main
from metrics.tokenizers.characters import is_without_spaces, tokenize_characters
from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many
from metrics.tokenizers.table import TOKENIZERS, open_tokenizer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("一只狗，在草地上。", "一 只 狗 在 草 地 上"),
        ("两只ＤＯＧ在跑 fast!", "两 只 dog 在 跑 fast"),
        ("ピクニックのパン", "ピ ク ニ ッ ク の パ ン"),
        ("ที่รัก", "ที่ รั ก"),  # vowels and tones above a letter are part of it
        ("개가 달린다.", "개가 달린다"),
        ("It's A Dog!", "its a dog"),
        ("…", ""),
        ("", ""),
    ],
)
def test_characters_of_scripts_without_spaces_are_words(text, words):
    assert tokenize_characters([text]) == [words]


@pytest.mark.parametrize(
    ("text", "expected"), [("狗 dog", False), ("狗狗狗 dog", False), ("狗狗狗狗 dog", True), ("", False)]
)
def test_is_without_spaces_asks_what_most_letters_are(text, expected):
    assert is_without_spaces(text) == expected


def test_table_has_the_functions_that_it_names():
    assert open_tokenizer().name == TOKENIZER_NAME
    for name in TOKENIZERS:
        assert open_tokenizer(name).tokenize_many(["A dog."]) == ["a dog"] == tokenize_many(["A dog."])


def test_segmenter_of_another_package_is_used_and_named():
    found = open_tokenizer("textwrap:wrap")
    assert found.tokenize_many(["Some Words, ...", ""]) == ["some words,", ""]
    assert found.name.startswith("textwrap:wrap")
    packaged = open_tokenizer("sklearn.utils:check_array")
    assert "scikit-learn" not in packaged.name
    assert packaged.name.split()[1][0].isdigit()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jiebaa:lcut", r"--tokenizer jiebaa:lcut: cannot be used \(No module named 'jiebaa'\)"),
        ("json:nothing", "--tokenizer json:nothing: cannot be used"),
        ("json:__name__", "is no function"),
        ("moses", "--tokenizer moses: unknown; known: ptb, characters, or package.module:function"),
    ],
)
def test_tokenizer_that_cannot_be_used_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        open_tokenizer(name)


CHINESE = {"1": ["一只狗在草地上跑"], "2": ["两个人在看书"], "3": ["红色的公共汽车"]}
ANSWERS = {"1": "一只狗在草地上玩", "2": "两个人在吃饭", "3": "红色的花"}


@pytest.mark.parametrize("tokenizer", ["characters", "builtins:list"])
def test_chinese_is_scored_by_characters_or_a_segmenter(tmp_path, capsys, tokenizer):
    (tmp_path / "r.json").write_text(json.dumps(CHINESE))
    (tmp_path / "h.json").write_text(json.dumps(ANSWERS))
    files = ["--references", str(tmp_path / "r.json"), "--hypotheses", str(tmp_path / "h.json")]

    def results(*options):
        assert main([*files, *options]) == 0
        return json.loads(capsys.readouterr().out)

    by_words = results("--metrics", "CIDEr")
    assert by_words["overall"]["CIDEr"] == 0
    assert "use --tokenizer characters" in by_words["provenance"]["doubtful"][0]
    found = results("--tokenizer", tokenizer)
    assert found["overall"]["CIDEr"] > 0.5
    # 7 of 8, 4 of 6 and 3 of 4 characters; 18 said of 21.
    assert found["overall"]["Bleu_1"] == pytest.approx(14 / 18 * 2.718281828 ** (1 - 21 / 18), rel=1e-6)
    assert set(found["overall"]) == {
        "Bleu_1",
        "Bleu_2",
        "Bleu_3",
        "Bleu_4",
        "ROUGE_L",
        "CIDEr",
    }
    assert found["provenance"]["metrics"]["tokenizer"].startswith(tokenizer)
