from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from configuration.text import LmConfig
from metrics.text_lm import Place
from models.style_lm import StyleLM
from models.style_lm.words import TOKENS_OF_A_WORD
from pipeline.text import scoring
from pipeline.text.evaluate import evaluate_text
from pipeline.text.prepare import prepare_text
from pipeline.text.samples import sample_writer
from pipeline.text.scoring import document_costs, styles_of_documents
from preprocessors.text.styles import StyleRegistry
from runs.folder import Run
from runs.metrics_log import read_curves
from utils.io import read_json, read_jsonl


@pytest.fixture(scope="module")
def trained(write_text, run_text, tmp_path_factory) -> tuple[Any, dict[str, Any]]:
    config = write_text(tmp_path_factory.mktemp("runs") / "trained")
    return config, run_text(config)


def test_run_leaves_a_model_that_transformers_opens_and_numbers_that_fall(trained):
    config, results = trained
    run = Run(config.work_dir)
    lm = StyleLM.load_from_dir(run.output)
    ids = torch.tensor([lm.prompt("pirate")])
    assert torch.equal(AutoModelForCausalLM.from_pretrained(run.output)(ids).logits, lm.logits(ids))
    curve = [value for _, value in read_curves(run.metrics)["val/loss"]]
    assert curve[-1] < curve[0]
    assert results["overall"]["loss"] == pytest.approx(min(curve), rel=1e-5)
    assert results["n"] == 6
    assert set(results["per_style"]) == {"neutral", "pirate"}
    assert results["provenance"]["split"] == "val"
    assert "note" not in results
    assert read_json(run.eval / "val.json") == json.loads(json.dumps(results))
    assert "pirate" in run.report.read_text()


def test_samples_stand_beside_every_validation_with_their_settings(trained):
    run = Run(trained[0].work_dir)
    rows = [row for _, row in read_jsonl(run.samples)]
    validated = [step for step, _ in read_curves(run.metrics)["val/loss"]]
    assert [row["global_step"] for row in rows] == [step for step in validated for _ in range(2)]
    assert {row["style"] for row in rows} == {"neutral", "pirate"}
    assert rows[0]["decoding"] == {
        **{"max_length": 8, "temperature": 1.0, "top_k": None, "top_p": 0.95},
        **{"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 7},
    }


def test_evaluating_again_gives_the_same_numbers(trained):
    config, results = trained
    again = evaluate_text(config, None)
    assert {name: again[name] for name in ("overall", "per_style", "n", "tokens", "places")} == {
        name: results[name] for name in ("overall", "per_style", "n", "tokens", "places")
    }


def test_another_model_is_evaluated_into_a_folder_of_its_own(trained):
    """A checkpoint is a model folder; the first one knows less than the best."""
    config, results = trained
    run = Run(config.work_dir)
    step, folder = min(run.numbered_checkpoints())
    worse = evaluate_text(config, str(folder))
    assert worse["overall"]["loss"] > results["overall"]["loss"]
    assert read_json(run.eval / f"checkpoints-checkpoint-{step}/val.json")["overall"] == worse["overall"]
    assert read_json(run.eval / "val.json")["overall"] == results["overall"]


def test_documents_cost_in_packs_what_they_cost_alone(trained):
    """Bits per byte and perplexity rest on it: by style, EOS counted and control codes not."""
    from pipeline.text.evaluate import open_trained

    prepared = open_trained(trained[0], str(Run(trained[0].work_dir).output))
    lm, bins = prepared.lm, prepared.data.eval
    costs, styles = document_costs(lm, prepared.packer(bins)), styles_of_documents(lm, bins)
    texts = [lm.tokenizer.decode(bins[number].body.tolist()) for number in range(len(bins))]
    alone = -lm.log_probs(texts, styles).double()
    assert costs.nats.tolist() == pytest.approx(alone.sum(1).tolist(), rel=1e-4)
    assert costs.tokens.tolist() == (alone != 0).sum(1).tolist()
    assert {style for style, text in zip(styles, texts, strict=True) if text.startswith("arr")} == {"pirate"}


def test_next_words_are_proposed_however_few_positions_a_head_leaves(trained, monkeypatch):
    """The words are looked for behind BOS, control code and text, or the last of it, in any number of positions."""
    from pipeline.text.evaluate import open_trained

    prepared = open_trained(trained[0], str(Run(trained[0].work_dir).output))
    lm, bins = prepared.lm, prepared.data.eval
    place, head = Place(1, "the cat sat on", "the"), [lm.tokenizer.bos_id, *bins[1].code.tolist()]
    body, asked = lm.tokenizer.encode_batch([place.before])[0], list[list[int]]()
    monkeypatch.setattr(scoring, "next_words", lambda lm, prompts, *_: asked.extend(prompts) or [[]])
    wanted = {8: body[-1:], 7 + len(head): body[-len(head) :], 8 + len(head): head + body[-1:], 48: head + body}
    for positions, prompt in wanted.items():
        monkeypatch.setattr(lm.network.config, "n_positions", positions)
        scoring._proposed(lm, bins, [place])
        assert asked.pop() == prompt
        lm.check_length(len(prompt) + TOKENS_OF_A_WORD - 1)


def test_samples_leave_out_a_style_whose_code_has_no_room(trained):
    """Such a style is the registry's, not the documents': those would have been refused."""
    from pipeline.text.evaluate import open_trained

    prepared = open_trained(trained[0], str(Run(trained[0].work_dir).output))
    styles = StyleRegistry(["a", "much longer than the model has positions"])
    lm = StyleLM.new(prepared.lm.tokenizer, styles, positions=12)
    writer = sample_writer(lm, LmConfig(sample_num=4, sample_length=20), prepared.data.eval, 7)
    assert [row["style"] for row in writer.write()] == ["a", "neutral"] * 2


def test_run_without_documents_to_validate_on_says_so(write_text, run_text, tmp_path):
    config = write_text(tmp_path / "alone", documents={"val": None}, train={"epochs": 1})
    results = run_text(config)
    assert results["note"].startswith("evaluated on the documents that the model was trained on")
    assert results["provenance"]["data_sha256"] == results["provenance"]["train_sha256"]
    assert "validated on the training documents" in Run(config.work_dir).log.read_text()


def test_run_is_validated_saved_and_sampled_at_the_steps_that_were_asked_for(write_text, run_text, tmp_path):
    lm = {"val_every": 4, "save_every": 3, "sample_every": 2, "sample_num": 1, "val_batches": 1}
    config = write_text(tmp_path / "steps", lm=lm, train={"epochs": 3}, checkpoint={"keep_last": 50})
    run_text(config)
    run = Run(config.work_dir)
    steps = read_json(run.last)["step"]
    validated = {*range(4, steps + 1, 4), steps}  # the last step is validated, whatever was asked for
    assert [step for step, _ in read_curves(run.metrics)["val/loss"]] == sorted(validated)
    assert [row["global_step"] for _, row in read_jsonl(run.samples)] == [*range(2, steps + 1, 2)]
    saved = {step for step, _ in run.numbered_checkpoints()}
    assert saved == {*range(3, steps + 1, 3), *validated}


def test_run_goes_on_from_a_model_folder_with_its_tokenizer_styles_and_positions(
    trained, write_text, run_text, tmp_path
):
    output = Run(trained[0].work_dir).output
    start = {"name": str(output), "preset": None}
    config = write_text(tmp_path / "further", model=start, lm={"positions": None}, train={"epochs": 1, "lr": 1e-6})
    results = run_text(config)
    assert results["overall"]["loss"] == pytest.approx(trained[1]["overall"]["loss"], rel=1e-2)
    assert read_json(Run(config.work_dir).config_file)["lm"]["positions"] == 48
    with pytest.raises(ValueError, match="lm.positions=64: .* has positions for 48; lower it"):
        run_text(write_text(tmp_path / "longer", model=start, lm={"positions": 64}))
    assert not (tmp_path / "longer").exists()


def test_run_on_other_documents_is_refused(trained, write_text, run_text, documents, tmp_path):
    config = write_text(tmp_path / "other")
    run_text(config, 1.0)
    changed = tmp_path / "changed.jsonl"
    changed.write_text((documents / "train.jsonl").read_text().replace("cat", "rat"))
    with pytest.raises(ValueError, match="holds a run with other settings|holds a run on other training"):
        run_text(write_text(tmp_path / "other", documents={"train": str(changed)}))


def test_linked_documents_are_packed_and_scored_as_the_configuration_says(write_text, run_text, tmp_path):
    rows = [{"title": "rome", "body": "rome is in the south", "meta": "neutral"}]
    rows += [{"title": "cat", "body": "the cat lives in rome", "meta": "pirate", "links": ["rome"]}]
    file = tmp_path / "linked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    linked = {"train": str(file), "val": None, "links": True, "link_tokens": 40, "ignore_meta_prob": 0.25}
    config = write_text(tmp_path / "linked", documents=linked, style={"inject": "token"}, train={"epochs": 2})
    prepared = prepare_text(config)
    packer = prepared.packer(prepared.data.train, training=True)
    assert (packer.linked, packer.link_tokens, packer.ignore_meta, packer.context) == (True, 40, 0.25, 48)
    plan = packer.plan(None)
    read = sum(int(packer.batch(plan, [row]).document_ids.max()) + 1 for row in range(len(plan)))
    assert read == 3  # rome once more, before the cat
    results = run_text(config)
    assert results["n"] == 2
    assert {style: numbers["n"] for style, numbers in results["per_style"].items()} == {"neutral": 1, "pirate": 1}


def test_evaluation_of_documents_that_there_are_none_of_is_refused(write_text, run_text, tmp_path):
    with pytest.raises(ValueError, match="eval.split=test: there are no such documents"):
        run_text(write_text(tmp_path / "none", eval={"split": "test"}))
    with pytest.raises(FileNotFoundError, match="no trained model there; train first"):
        evaluate_text(write_text(tmp_path / "none"), None)
