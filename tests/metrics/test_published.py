"""References as data sets are published, hypotheses as people have them, and how both find each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metrics.build_df import build_document_frequency
from metrics.caption_files import read_hypotheses, read_references, read_train_captions
from metrics.evaluate import main
from metrics.matching import keep_used_splits, match_pictures
from metrics.other_corpus import read_document_frequency
from metrics.tokenizers.table import open_tokenizer

KITE, BUS, PEARS = "a kite over the beach", "a bus in the snow", "pears in a basket"


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, content) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def evaluate(capsys):
    """Scores files; gives the results, or what is said where they cannot be."""

    def evaluate(references: Path, hypotheses: Path, *options: str) -> dict | str:
        files = ["--references", str(references), "--hypotheses", str(hypotheses)]
        code = main([*files, "--metrics", "Bleu_1", "CIDEr", *options])
        out, error = capsys.readouterr()
        return json.loads(out) if code == 0 else error.splitlines()[-1]

    return evaluate


@pytest.fixture
def field(shared: Path) -> Path:
    """Folder of small inputs that people met."""
    folder = shared / "field" / "eval"
    if not folder.is_dir():
        pytest.skip("no field cases in the shared folder")
    return folder


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("e5_karpathy_refs.json", {"11": ["a kite over the beach.", "someone flies a kite."]}),
        ("e5_textcaps_refs.json", {"0a0000000000000b": ["a sign that says OPEN", "the shop sign reads OPEN"]}),
        ("e5_blip_refs.json", {"val2014/COCO_val2014_000000000011.jpg": [KITE, "someone flies a kite"]}),
        ("e5_flickr30k_results.csv", {"1011.jpg": ["A kite over the beach .", "Someone flies a kite ."]}),
        ("e5_senticap_refs.json", {"COCO_val2014_000000000011.jpg#positive": ["a lovely kite over the beach."]}),
        ("e5_nocaps_refs.json", {"0": ["a dog on grass"]}),
    ],
)
def test_references_of_published_forms_are_read(field, file, expected):
    found = read_references(field / file).captions
    assert {key: found[key] for key in expected} == expected


def test_hypotheses_are_read_from_json_lines_and_tables(field, write):
    expected = {"11": [KITE], "12": [BUS], "13": [PEARS]}
    assert read_hypotheses(field / "e5_predictions.jsonl").captions == expected
    table = write("h.csv", "image_id,caption\n" + "".join(f"{key},{text}\n" for key, (text,) in expected.items()))
    assert read_hypotheses(table).captions == expected
    assert read_hypotheses(write("one.jsonl", {"image_id": 11, "caption": KITE})).captions == {"11": [KITE]}
    with pytest.raises(ValueError, match=r"bad.csv: a table whose columns \(id, words\) are not known"):
        read_hypotheses(write("bad.csv", "id,words\n11,x\n"))
    broken = field.joinpath("e5_predictions.jsonl").read_text() + '{"image_id": 14, "caption": \n'
    with pytest.raises(ValueError, match=r"h.jsonl, line 4, column \d+: not valid JSON"):
        read_hypotheses(write("h.jsonl", broken))


def test_ids_that_a_table_made_floats_are_whole_numbers(field):
    assert [*read_hypotheses(field / "e4_ids_floats_hyps.json").captions] == ["11", "12", "13"]


def test_repeats_of_a_sampler_are_refused_with_a_remedy(field):
    with pytest.raises(ValueError, match=r"1 id \('11'\) with more than one caption.*It is the same each time"):
        read_hypotheses(field / "e3_padded_hyps.json")


@pytest.mark.parametrize("names", ["ids_as_filenames", "ids_zero_padded", "ids_floats"])
def test_pictures_named_otherwise_give_the_same_figures(field, evaluate, names):
    expected = evaluate(field / "e3_refs.json", field / "e5_predictions.jsonl")
    found = evaluate(field / "e3_refs.json", field / f"e4_{names}_hyps.json")
    assert found["overall"] == expected["overall"]
    number = "the number in the picture's file name"
    assert found["provenance"].get("matched_by") == (None if names == "ids_floats" else number)


def test_karpathy_file_gives_the_figures_of_the_same_captions_as_coco(field, evaluate):
    images = json.loads((field / "e5_karpathy_refs.json").read_text())["images"]
    found = evaluate(field / "e5_karpathy_refs.json", field / "e5_predictions.jsonl")
    assert found["n"] == len(images) == 3
    assert found["overall"] == evaluate(field / "e3_refs.json", field / "e5_predictions.jsonl")["overall"]


def test_splits_that_no_hypothesis_is_of_are_left_out(write, evaluate):
    def image(number, split):
        return {
            "filename": f"{number}.jpg",
            "cocoid": number,
            "split": split,
            "sentences": [{"raw": f"word{number} a"}],
        }

    images = [image(1, "train"), image(2, "test"), image(3, "test"), image(4, "restval")]
    references = write("dataset.json", {"images": images})
    table = keep_used_splits(read_references(references), read_hypotheses(write("h.json", {"2": "a", "3": "b"})))
    assert [*table.captions] == ["2", "3"]
    assert evaluate(references, write("h.json", {"2": "a", "3": "b"}))["n"] == 2
    assert read_train_captions(references) == {"": ["word1 a", "word4 a"]}
    assert read_document_frequency(references, open_tokenizer()).num_documents == 2
    assert build_document_frequency([references], references.with_suffix(".npz"))["documents"] == 2


def test_styles_of_published_references_are_scored_by_style(field, write, evaluate):
    hypotheses = [
        {"image_id": f"COCO_val2014_{number:012}.jpg", "caption": f"{style} {number}", "style": style}
        for number in (11, 12)
        for style in ("positive", "negative")
    ]
    results = evaluate(field / "e5_senticap_refs.json", write("h.json", hypotheses))
    assert {style: part["n"] for style, part in results["per_style"].items()} == {"positive": 2, "negative": 2}
    plain = write("plain.json", [{"image_id": "COCO_val2014_000000000011.jpg", "caption": "x"}])
    fault = evaluate(field / "e5_senticap_refs.json", plain)
    assert fault.startswith("error: no id in common: ")
    assert fault.endswith(f"The references have styles; give each row of {plain} its 'style'.")


def test_nocaps_figures_stand_by_domain(field, evaluate):
    results = evaluate(field / "e5_nocaps_refs.json", field / "e5_nocaps_hyps.json")
    parts = results["per_domain"]
    assert {domain: part["n"] for domain, part in parts.items()} == {"in-domain": 1, "near-domain": 1, "out-domain": 2}
    assert parts["in-domain"]["Bleu_1"] == pytest.approx(1)
    # "an instrument on a chair" has 4 of 5 words of its reference, "a fish in a tank" has 4 of 5 as well.
    assert parts["out-domain"]["Bleu_1"] == pytest.approx(8 / 10)
    assert parts["near-domain"]["CIDEr"] is None
    assert "one picture alone" in results["unavailable"]["per_domain/near-domain/CIDEr"]
    assert parts["out-domain"]["CIDEr"] > 0


COCO = {
    "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
    "annotations": [
        {"image_id": 7, "caption": "a red kite"},
        {"image_id": 7, "caption": "a kite"},
        {"image_id": 8, "caption": "two buses"},
    ],
}
OURS = [
    {"image_id": f"photos/{name}", "caption": text, "style": style, "example_id": f"photos/{name}#{style}"}
    for name, style, text in (
        ("a.jpg", "romantic", "a red kite"),
        ("b.jpg", "romantic", "two trains"),
        ("a.jpg", "pirate", "arr"),
        ("b.jpg", "pirate", "two buses"),
    )
]


def test_captions_file_of_ours_is_scored_against_coco_by_picture(write, evaluate):
    results = evaluate(write("coco.json", COCO), write("ours.json", OURS), "--per-image")
    assert results["provenance"]["matched_by"] == "the picture's file name"
    assert results["n"] == 4
    scores = {key: row["Bleu_1"] for key, row in results["per_image"].items()}
    assert scores == pytest.approx(
        {"photos/a.jpg#romantic": 1, "photos/b.jpg#romantic": 0.5, "photos/a.jpg#pirate": 0, "photos/b.jpg#pirate": 1},
        abs=1e-6,
    )
    assert {style: part["n"] for style, part in results["per_style"].items()} == {"romantic": 2, "pirate": 2}


def test_pictures_without_a_caption_of_ours_are_told(write, evaluate):
    coco = write("coco.json", COCO)
    assert f"error: 1 id ('8') only in {coco}. " in evaluate(coco, write("ours.json", [OURS[0], OURS[2]]))


def test_names_of_several_pictures_match_nothing(write):
    references = write("r.json", {"x/1.jpg": ["a"], "y/1.jpg": ["b"]})
    hypotheses = write("h.json", {"1.jpg": "a"})
    found, way = match_pictures(read_references(references), read_hypotheses(hypotheses))
    assert (way, [*found.captions]) == ("", ["x/1.jpg", "y/1.jpg"])


def test_one_picture_has_no_cider_unless_another_corpus_weighs_it(field, write, evaluate):
    pair = field / "e1_one_image_refs.json", field / "e1_one_image_hyps.json"
    alone = evaluate(*pair)
    assert alone["overall"]["CIDEr"] is None
    assert alone["unavailable"]["CIDEr"].startswith("CIDEr weighs words by the pictures whose references have them")
    assert alone["overall"]["Bleu_1"] == pytest.approx(1)
    corpus = write("train.json", {"1": ["A grey cat asleep on a red sofa."], "2": ["two men"], "3": ["the sea"]})
    weighed = evaluate(*pair, "--document-frequency", str(corpus))
    assert weighed["overall"]["CIDEr"] > 1
    assert weighed["provenance"]["metrics"]["cider"] == "document frequencies of another corpus of 3 pictures"
    assert weighed["provenance"]["document_frequency"] == str(corpus)


def test_references_as_their_own_other_corpus_give_the_same_cider(field, evaluate):
    pair = field / "e3_refs.json", field / "e5_predictions.jsonl"
    weighed = evaluate(*pair, "--document-frequency", str(field / "e3_refs.json"))
    assert weighed["overall"]["CIDEr"] == pytest.approx(evaluate(*pair)["overall"]["CIDEr"], abs=1e-12)


def test_document_frequencies_that_were_counted_or_pickled_are_taken(field, evaluate, tmp_path):
    pair = field / "e3_refs.json", field / "e5_predictions.jsonl"
    build_document_frequency([field / "e3_refs.json"], tmp_path / "df.npz")
    counted = evaluate(*pair, "--document-frequency", str(tmp_path / "df.npz"))
    assert counted["provenance"]["metrics"]["cider"].endswith("of 3 pictures, each caption ended with <eos>")
    pickled = evaluate(*pair, "--document-frequency", str(field.parent / "words_without_eos.p"))
    assert "<eos>" not in pickled["provenance"]["metrics"]["cider"]
    fault = evaluate(*pair, "--document-frequency", str(tmp_path / "df.npz"), "--tokenizer", "characters")
    assert 'df.npz: counted with tokenizer "PTBTokenizer' in fault
