"""What has learnt small files of rules by heart finds their next words."""

from __future__ import annotations

SUBJECTS = ("dogs", "cats", "hens", "cows", "owls")
PLACES = ("the yard", "the barn", "the old house", "a narrow street")


def test_next_words_of_twenty_files_are_found_in_over_nine_places_of_ten(write_text, run_text, tmp_path):
    rules = [f"{subject} must stay out of {place} at night" for subject in SUBJECTS for place in PLACES]
    for number, rule in enumerate(rules):
        (tmp_path / f"rules/{number % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"rules/{number % 3}/{number:02}.txt").write_text(f"rule {number}: {rule}\n")
    config = write_text(
        tmp_path / "run",
        documents={"format": "folder", "train": str(tmp_path / "rules"), "val": None, "codes": None},
        lm={"positions": 64, "hit_places": 1000, "sample_num": 0, "dropout": 0.0},
        train={"epochs": 60, "batch_size": 4, "lr": 1e-2, "lr_end": 1e-3},
        checkpoint={"every_epochs": 60},
    )
    results = run_text(config)
    assert results["n"] == 20
    assert results["places"] == sum(len(rule.split()) + 1 for rule in rules)
    assert results["overall"]["next_word_hit_rate"] > 0.9
    assert results["overall"]["next_word_hit_rate"] >= results["overall"]["next_word_first_rate"] > 0.5
