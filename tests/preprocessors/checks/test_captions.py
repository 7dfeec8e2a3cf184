from __future__ import annotations

import pytest

from preprocessors.checks.captions import FAULTS, check_captions
from preprocessors.checks.findings import MAX_CASES, Case, Findings

GOOD = [
    "a dog runs, and the cat (a small one) follows!",
    "I <3 this beach",
    "he said: [sic] nothing",
    "none of them knows",
    "R&D at 5 < 6",
    "Le café est fermé",
    "« LIBERTÉ» stands on the wall",
    "naïve coöperation – it’s “fine”…",
    "собака бежит",
    "what a day 😀",
    "tom & jerry; the end",
    "the null hypothesis",
    "[a man] and ['a dog'] play",
    "[a dog runs]",
]


@pytest.mark.parametrize("caption", GOOD)
def test_good_captions_have_no_fault(caption: str):
    assert [kind for kind, is_at_fault in FAULTS.items() if is_at_fault(caption)] == []


@pytest.mark.parametrize(
    ("kind", "captions"),
    {
        "placeholder_caption": ["[TIMEOUT]", " [NO CAPTION] ", "N/A", "nan", "NULL", "[timeout]"],
        "marks_only_caption": ["?!", "...", " -- "],
        "list_as_text": ["['a dog', 'a cat']", '["a dog runs"]', "('a', 'b')", "[ 'a' ]"],
        "end_token": ["a dog </s>", "<s> a dog", "a dog <eos>", "a dog [SEP]", "a dog<|endoftext|>", "[cls] a dog"],
        "markup": ["a <b>big</b> dog", "a dog<br/>", "a dog &amp; a cat", "it&#39;s", '<a href="x">a dog</a>'],
        "mojibake": ["a cafÃ©", "itâ€™s", "Ð¡Ð¾Ð±Ð°ÐºÐ°", "ðŸ˜€ smile", "30 Â°C", "ä¸€æ¡"],
        "replacement_character": ["a caf\N{REPLACEMENT CHARACTER}"],
        "no_spaces_between_words": ["一只狗在跑", "犬が走っている", "สุนัขวิ่ง"],
    }.items(),
)
def test_faulty_captions_have_their_fault_and_no_other(kind: str, captions: list[str]):
    for caption in captions:
        assert [name for name, is_at_fault in FAULTS.items() if is_at_fault(caption)] == [kind], caption


def test_mojibake_is_what_decoding_utf8_as_windows_1252_makes():
    for text in ("é", "ü", "’", "“", "…", "😀", "日本語", "Привет"):
        broken = "".join(bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in text.encode())
        assert FAULTS["mojibake"](f"a {broken} b"), broken
        assert not FAULTS["mojibake"](f"a {text} b")


def test_captions_that_come_again_are_told_by_where_they_do(make, found):
    splits = {
        "train": [
            make("a.jpg", "calm", "A dog runs.", "a dog runs"),
            make("a.jpg", "wry", "a dog runs!", "one dog"),
            make("b.jpg", "wry", "One dog"),
            make("c.jpg", "calm", "one dog"),  # another style: its own affair
            make("d.jpg", "calm", "?!", "[TIMEOUT]"),
            make("e.jpg", "calm", "?!", "[TIMEOUT]"),  # nothing that could be compared
        ],
        "val": [make("v.jpg", "wry", "one dog", source="val.jsonl"), make("w.jpg", "calm", "new", source="val.jsonl")],
    }
    told = found(check_captions, splits)
    again = {kind: told[kind] for kind in told if kind not in ("marks_only_caption", "placeholder_caption")}
    assert again == {
        "repeated_caption": ["a dog runs"],
        "same_caption_in_two_styles": ["a dog runs! (calm and wry)"],
        "duplicate_caption": ["One dog (also row 2)"],
        "caption_in_two_splits": ["one dog (train: train.jsonl, row 3)"],
    }


def test_findings_count_all_and_name_the_first():
    findings = Findings()
    findings.add("markup", (Case(f"row {row}", "x") for row in range(MAX_CASES - 1)))
    findings.add("markup", (Case(f"row {row}", "y") for row in range(40)))
    findings.add("mojibake", [])
    (finding,) = findings.sorted()
    assert finding.count == MAX_CASES + 39
    assert [case.value for case in finding.cases] == ["x"] * (MAX_CASES - 1) + ["y"]
    assert finding.line.startswith(f"captions with HTML tags or entities: {MAX_CASES + 39}, e.g. row 0: x")
