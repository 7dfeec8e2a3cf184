"""The contracts find what is wrong with plug-ins, clause by clause, and nothing wrong with ours."""

from __future__ import annotations

import json

import pytest

from models import captioner_class
from tests.contract.__main__ import CAPTIONER, main
from tests.contract.clauses import Clause, check, require
from tests.contract.subject import subject_of

BROKEN = "tests.contract.broken"
FAULTS = {
    "Unnormalised": ("token_log_probs are those of", "sums to 1, differ by"),
    "Foresighted": ("no position sees", "another token at position 1 changes what is said up to there"),
    "Sociable": ("captions of a batch do not see", "changes the scores of the others"),
    "Unpacked": ("packed logits", "have shapes"),
    "Lavish": ("rows that share a picture", "passes the vision network 2 times"),
    "Blind": ("picture and style change", "another picture changes nothing"),
    "Set": ("tokens are drawn as often", "of 2048 draws at temperature 1"),
    "Feverish": ("tokens are drawn as often", "of 2048 draws at temperature 0.5"),
    "NoNucleus": ("top_p draws", "of the draws lie outside"),
    "Unguided": ("guidance 1 is off", "guidance 0 is not as the neutral prompt alone"),
    "Original": ("begin with the prefix", "captions drawn do not begin with the prefix"),
    "Deaf": ("fusion", "nor is it in the beams"),
    "Endless": ("beams end", "a caption does not end with EOS"),
    "Confused": ("steps give the distribution", "log_probs of steps after 3 tokens"),
    "Forgetful": ("a saved captioner is opened", "bias differs"),
    "Unsettled": ("a saved captioner is opened", "does not have the settings as saved"),
    "Lone": ("companions are all that weights need", "raises RuntimeError"),
    "Fickle": ("the same model whenever", "words.weight differs"),
    "Thawing": ("frozen copy", "weights of a frozen copy have gradients"),
    "Solitary": ("goes through the wrapper", "encode goes past the wrapper"),
    "Strange": ("parts are named", "vision has weights that the module does not have"),
    "Indifferent": ("a style token", "the vocabulary grew by 0"),
    "Raising": ("limits", "limits are"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_contract_of_captioners_finds_a_broken_one_by_its_clause(fault):
    clause, why = FAULTS[fault]
    outcomes = check(CAPTIONER, subject_of(captioner_class(f"{BROKEN}:{fault}Captioner")))
    (found,) = [one.why for one in outcomes if clause in one.sentence]
    assert why in found
    assert sum(not one.why for one in outcomes) >= len(outcomes) // 2  # what is broken hides nothing that holds


def test_contract_of_captioners_holds_for_the_toy_made_and_opened(tmp_path, capsys):
    assert main(["tests.toy_captioner:ToyCaptioner"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == f"{len(CAPTIONER)} clauses, 0 failed"
    assert all(line.startswith("passed  ") for line in told[:-1])
    toy = subject_of(captioner_class("tests.toy_captioner:ToyCaptioner"))
    toy.captioner.save(tmp_path / "toy", toy.settings)
    toy.registry.save_to_dir(tmp_path / "toy")
    assert main(["tests.toy_captioner:ToyCaptioner", "--model", str(tmp_path / "toy")]) == 0


@pytest.mark.slow
def test_contract_of_captioners_holds_for_ofa():
    assert [one for one in check(CAPTIONER, subject_of(captioner_class("ofa"))) if one.why] == []


def test_contract_says_what_failed_and_what_a_plugin_raises(capsys):
    assert main([f"{BROKEN}:RaisingCaptioner"]) == 1
    assert "failed  limits and what the vision network" in capsys.readouterr().out

    def fail(subject):
        raise KeyError("words")

    (raised, broken) = check([Clause("a", fail), Clause("b", lambda subject: require(False, "no"))], None)
    assert raised.why.startswith("raises KeyError: 'words' (")
    assert broken.why == "no"


def test_contract_of_what_is_not_there_ends_with_2(tmp_path, capsys):
    assert main(["tests.contract.broken:NoSuch"]) == 2
    assert "tests.contract.broken has no NoSuch" in capsys.readouterr().err
    assert main(["tests.toy_captioner:ToyCaptioner", "--model", str(tmp_path / "none")]) == 2


def test_contract_of_documents_finds_what_cannot_go_on_and_what_does_not_notice(tmp_path, capsys):
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"body": f"text {n}"}) + "\n" for n in range(3)) + "{\n")
    arguments = ["--documents", str(path)]
    assert main(["preprocessors.documents.sources:open_jsonl", *arguments]) == 0
    assert main([f"{BROKEN}:open_homeless", *arguments]) == 1
    assert "behind document 1 of 4 come 4 others" in capsys.readouterr().out
    assert main([f"{BROKEN}:open_steadfast", *arguments]) == 1
    assert "a file that grew has the fingerprint of before" in capsys.readouterr().out


def test_contract_of_reward_terms_finds_one_that_compares_captions(capsys):
    assert main(["trainers.rewards.terms:repetition", "--reward"]) == 0
    assert main([f"{BROKEN}:envy", "--reward"]) == 1
    assert "'a dog runs' is worth 1 alone and 0.5 among others" in capsys.readouterr().out
