from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from models.style_lm import StyleLM
from preprocessors.collator import IGNORE_INDEX
from trainers.continuations import Continuations
from trainers.hf_trainer import TrainingArguments
from trainers.losses.unlikelihood import repeated_ngrams
from trainers.text_trainer import TextObjective, TextTrainer

WORKED = [5, 18, 55, 30, 101]
ENTRIES = 107


class Numbers:
    """A tokenizer of numbers."""

    bos_id, eos_id = 0, 1

    def __len__(self):
        return ENTRIES


class Rows:
    """Rows of a data set, the same in every epoch."""

    def __init__(self, rows):
        self.rows, self.epoch = rows, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        return self.rows[number] | {"rows": torch.tensor(number)}

    def set_epoch(self, epoch):
        self.epoch = epoch


def row_of(*documents: list[int], length: int) -> dict[str, torch.Tensor]:
    """Documents side by side; every token but the first of each is learnt."""
    ids = torch.zeros(length, dtype=torch.int64)
    positions, numbers = torch.zeros_like(ids), torch.full_like(ids, -1)
    targets, start = torch.full_like(ids, IGNORE_INDEX), 0
    for number, document in enumerate(documents):
        end = start + len(document)
        ids[start:end], positions[start:end] = torch.tensor(document), torch.arange(len(document))
        numbers[start:end] = number
        targets[start : end - 1] = torch.tensor(document[1:])
        start = end
    return {"token_ids": ids, "position_ids": positions, "document_ids": numbers, "targets": targets}


def collate(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.fixture
def lm() -> StyleLM:
    torch.manual_seed(3)
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24, "initializer_range": 0.3}
    dropout = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    config = GPT2Config(
        vocab_size=ENTRIES, bos_token_id=0, eos_token_id=1, attn_implementation="sdpa", **shape, **dropout
    )
    return StyleLM(GPT2LMHeadModel(config), Numbers(), None)


@pytest.fixture
def trainer(lm, tmp_path):
    """Makes a trainer of plain gradient descent over rows."""

    def make(
        rows: list[dict[str, torch.Tensor]], objective: TextObjective | None = None, **options: Any
    ) -> TextTrainer:
        usual = {"learning_rate": 0.1, "optim": "sgd", "max_steps": 1, "max_grad_norm": 1e9, "seed": 7}
        fixed = {
            "output_dir": str(tmp_path),
            "use_cpu": True,
            "report_to": [],
            "save_strategy": "no",
            "logging_steps": 1,
        }
        args = TrainingArguments(**fixed, disable_tqdm=True, remove_unused_columns=False, **usual | options)
        parts = {"train_dataset": Rows(rows), "eval_dataset": Rows(rows), "collator": collate}
        return TextTrainer(lm, args, objective=objective or TextObjective(), **parts)

    return make


def loss_of(trainer: TextTrainer, rows: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    batch = collate([row | {"rows": torch.tensor(0)} for row in rows])
    return trainer.step_loss(trainer.lm.network.train(), batch, torch.tensor(trainer.count_tokens([batch])))


def log_p(lm: StyleLM, ids: list[int]) -> torch.Tensor:
    """Of every token of a document but its first, in full passes of its own without packs."""
    scores = [
        lm.network(input_ids=torch.tensor([ids[:end]])).logits[0, -1].log_softmax(-1) for end in range(1, len(ids))
    ]
    return torch.stack([score[token] for score, token in zip(scores, ids[1:], strict=True)])


def test_loss_of_the_worked_example_is_the_mean_over_four_tokens(lm, trainer):
    """cost = mean of -ln p(x[t+1] | x[..t]) over the 4 tokens of [5, 18, 55, 30, 101] behind the first."""
    row = row_of(WORKED, length=5)
    made = trainer([row])
    assert made.count_tokens([collate([row])]) == (4,)
    expected = -sum(log_p(lm, WORKED).tolist()) / 4
    assert loss_of(made, [row]).item() == pytest.approx(expected, rel=1e-5)


def test_loss_with_smoothing_by_hand(lm, trainer):
    row = row_of(WORKED, length=5)
    scores = lm.logits(torch.tensor([WORKED]))[0, :4].log_softmax(-1)
    nll = -scores[range(4), WORKED[1:]]
    spread = 0.1 / (ENTRIES - 1)
    expected = ((1 - 0.1 - spread) * nll - spread * scores.sum(-1)).mean()
    found = loss_of(trainer([row], TextObjective(label_smoothing=0.1)), [row])
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_loss_of_a_pack_is_that_of_its_documents_and_padding_costs_nothing(lm, trainer):
    documents = [WORKED, [7, 8, 9], [60, 61, 62, 63]]
    expected = -sum(log_p(lm, document).sum().item() for document in documents) / 9
    for rows in (
        [row_of(*documents, length=12)],
        [row_of(*documents, length=17)],
        [row_of(documents[0], length=7), row_of(*documents[1:], length=7)],
    ):
        assert loss_of(trainer(rows), rows).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "objective", [TextObjective(repetition=0.7), pytest.param(TextObjective(sequence=0.999), marks=pytest.mark.slow)]
)
def test_update_does_not_depend_on_how_a_step_is_divided(lm, trainer, objective, monkeypatch):
    """Rows of very different numbers of tokens: 4 x 1, 2 x 2 and 1 x 4 take one and the same step."""
    monkeypatch.setattr("trainers.continuations.NGRAM", 1)
    rows = [row_of(WORKED, [7, 7, 9, 7], length=24), row_of([5, 6, 5], length=24)]
    rows += [row_of([11] * 12, [3, 4] * 6, length=24), row_of([9, 8, 9, 8, 9], length=24)]
    start = {name: tensor.clone() for name, tensor in lm.network.state_dict().items()}
    moved = []
    for size in (4, 2, 1):
        lm.network.load_state_dict(start)
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 4 // size}
        trainer(rows, objective, **options).train()
        moved.append({name: tensor - start[name] for name, tensor in lm.network.state_dict().items()})
    for name, whole in moved[0].items():
        assert whole.norm() > 1e-5 or "bias" in name
        for divided in moved[1:]:
            assert (divided[name] - whole).norm() <= 1e-4 * whole.norm() + 1e-7, name


def test_repetition_adds_its_weight_times_what_documents_repeat(lm, trainer):
    """Targets 7 9 7 of [7, 7, 9, 7]: 7 was there before 9, and 7 and 9 before the last 7, of which 7 is the target."""
    row = row_of([7, 7, 9, 7], [5, 9], length=6)
    p = lm.logits(torch.tensor([[7, 7, 9, 7]])).detach()[0].softmax(-1)
    repeated = -math.log(1 - p[1, 7]) - math.log(1 - p[2, 9])
    plain, both = (loss_of(trainer([row], TextObjective(repetition=weight)), [row]).item() for weight in (0.0, 2.0))
    assert both - plain == pytest.approx(2.0 * repeated / 4, rel=1e-4)


def test_sequence_steps_are_drawn_by_seed_and_step_in_their_share(trainer):
    made = trainer([row_of(WORKED, length=5)], TextObjective(sequence=0.3))
    drawn = []
    for step in range(400):
        made.state.global_step = step
        drawn.append(made.is_of_sequences)
    assert 0.2 < sum(drawn) / 400 < 0.4
    made.state.global_step = drawn.index(True)
    assert made.is_of_sequences


def test_sequence_loss_makes_repeated_ngrams_of_greedy_continuations_less_probable(lm, trainer, monkeypatch):
    """By hand: greedy by full passes; candidates are what the continuation holds already, in pairs."""
    monkeypatch.setattr("trainers.continuations.NGRAM", 2)
    document = [0, 50, 51, 52, 53, 54]
    row = row_of(document, length=9)
    ids = document[:3]
    with torch.no_grad():
        while len(ids) < 3 + 12 and ids[-1] != 1:
            ids.append(int(lm.logits(torch.tensor([ids]))[0, -1].argmax()))
    written = torch.tensor([ids[3:]])
    repeated = repeated_ngrams(written, 2)
    assert repeated.any()
    p = log_p(lm, ids)[2:].exp().clamp(max=1 - 1e-5)
    expected = -torch.log1p(-p)[repeated[0]].sum().item()
    batch = collate([row])
    continuations = Continuations(lm)
    assert (continuations.prefixes(batch), continuations.length) == ([document[:3]], 12)
    found = continuations.loss(lm.network, [document[:3]])
    assert found.loss.item() == pytest.approx(expected, rel=1e-3)
    assert (int(found.repeated), int(found.written)) == (int(repeated.sum()), written.shape[1])
    made = trainer([row], TextObjective(sequence=0.999))
    assert made.count_tokens([batch]) == (12,)
    assert loss_of(made, [row]).item() == pytest.approx(expected / 12, rel=1e-3)


def test_continuations_begin_with_documents_that_are_learnt_from_their_first_token_on(lm):
    """Not a window that goes on with a document, one that is only read, or one too short to be given half of it."""
    batch = collate([row_of([0, 50, 51, 52, 53], [0, 9, 1], [0, 60, 61, 62], length=14)])
    batch["position_ids"][0, :5] += 3
    assert Continuations(lm).prefixes(batch) == [[0, 60]]
    batch["targets"][0, 8:] = IGNORE_INDEX
    assert Continuations(lm).prefixes(batch) == []
    empty = Continuations(lm).loss(lm.network, [])
    assert (empty.loss.item(), int(empty.written)) == (0.0, 0)
    empty.loss.backward()  # other processes may wait for its gradients
    assert lm.network.lm_head.weight.grad is not None
