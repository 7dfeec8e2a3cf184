"""Windows and packs: every id is learnt once, no document sees another, the same rows whenever they are made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from preprocessors.documents.interface import Document
from preprocessors.documents.packing import PackedBatch, Packer, mask
from preprocessors.documents.rows import fit_rows
from preprocessors.documents.token_bins import TokenBins
from preprocessors.documents.windows import cut_windows, ids_of
from tests.preprocessors.documents.written import BOS, EOS, write_documents

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def texts_of(bins: TokenBins, context: int, overlap: int = 0) -> list[tuple[str, str]]:
    """What is read and what is learnt of each window; ``^`` and ``$`` stand for BOS and EOS, ``|`` ends a code."""
    windows, found = cut_windows(bins, context, overlap), []
    for number in range(len(windows)):
        ids, read = ids_of(bins, windows, number, (BOS, EOS), with_code=True)
        assert len(ids) == windows.lengths(bins.body_lengths())[number] <= context
        text = "".join({BOS: "^", EOS: "$", ord("\n"): "|"}.get(each, chr(each)) for each in ids)
        found.append((text[:read], text[read:]))
    return found


def test_windows_of_a_long_document_learn_every_id_once(tmp_path: Path):
    bins = write_documents(tmp_path / "a", Document("abc", ("m",)), Document(ALPHABET[:17]), Document("xy"))
    assert texts_of(bins, 8) == [
        *(("^m|", "abc$"), ("^", "abcdef"), ("f", "ghijk"), ("k", "lmnop"), ("p", "q$"), ("^", "xy$")),
    ]


def test_windows_that_overlap_read_what_they_do_not_learn(tmp_path: Path):
    bins = write_documents(tmp_path / "a", Document(ALPHABET, ("m",)))
    assert texts_of(bins, 12, overlap=3) == [
        *(("^m|", "abcdefgh"), ("m|fgh", "ijklm"), ("m|klm", "nopqr"), ("m|pqr", "stuvw"), ("m|uvw", "xyz$")),
    ]


@pytest.mark.parametrize("overlap", [0, 1, 4])
def test_windows_of_every_length_fit_and_are_the_documents(tmp_path: Path, overlap: int):
    bins = write_documents(tmp_path / "a", *(Document(ALPHABET[:length], ("m",)) for length in range(1, 26)))
    learnt = "".join(text for _, text in texts_of(bins, 10, overlap))
    assert learnt == "".join(f"{ALPHABET[:length]}$" for length in range(1, 26))
    windows = cut_windows(bins, 10, overlap)
    assert (windows.end > windows.start).all()
    assert np.bincount(windows.document)[:7].tolist() == [1, 1, 1, 1, 1, 1, 2]  # six, BOS, a code of two, EOS


def test_windows_without_room_for_anything_new_are_refused(tmp_path: Path):
    bins = write_documents(tmp_path / "a", Document(ALPHABET, ("meta",)))
    with pytest.raises(ValueError, match="a context of 8 ids has no room beside a control code of 5, 1 repeated ones"):
        cut_windows(bins, 8)
    with pytest.raises(ValueError, match="or documents.max_meta_len or documents.overlap smaller"):
        cut_windows(bins, 12, 5)


def test_fit_rows_puts_each_window_where_it_leaves_least_room():
    # 5 begins a row, 4 fits behind it (room 1), 7 begins one (room 3), 3 fills it, 2 begins one, 1 fills the first.
    assert fit_rows(np.array([0, 1, 2, 3, 4, 5]), np.array([5, 4, 7, 3, 2, 1]), 10) == [[0, 1, 5], [2, 3], [4]]


def test_fit_rows_of_many_windows_leaves_little_room():
    sizes = np.random.default_rng(0).integers(5, 60, 2000)
    rows = fit_rows(np.random.default_rng(1).permutation(2000), sizes, 128)
    assert sorted(window for row in rows for window in row) == [*range(2000)]
    assert max(sizes[row].sum() for row in rows) <= 128
    assert sizes.sum() / (len(rows) * 128) > 0.98


def some_documents(tmp_path: Path, number: int = 30) -> TokenBins:
    words = [Document(ALPHABET[place % 7 :][: 2 + place % 11], (f"m{place % 3}",)) for place in range(number)]
    return write_documents(tmp_path / "some", *words)


def rows_of(packer: Packer, epoch: int | None) -> list[list[int]]:
    plan = packer.plan(epoch)
    return [plan.row(number) for number in range(len(plan))]


def test_plan_depends_on_seed_and_epoch_alone(tmp_path: Path):
    bins = some_documents(tmp_path)
    first, again = (Packer(bins, 40, bos=BOS, eos=EOS, seed=3, ignore_meta=0.5) for _ in range(2))
    first.plan(0)
    assert rows_of(first, 4) == rows_of(again, 4)
    assert (first.plan(4).without_code == again.plan(4).without_code).all()
    assert rows_of(first, 4) != rows_of(first, 5)
    assert rows_of(first, 4) != rows_of(Packer(bins, 40, bos=BOS, eos=EOS, seed=4), 4)
    assert sorted(window for row in rows_of(first, 4) for window in row) == [*range(30)]


def test_plan_for_validation_draws_nothing(tmp_path: Path):
    bins = some_documents(tmp_path)
    plans = [Packer(bins, 40, bos=BOS, eos=EOS, seed=seed, ignore_meta=0.9).plan(None) for seed in (1, 2)]
    assert (plans[0].windows == plans[1].windows).all()
    assert not plans[0].without_code.any()
    assert plans[0].row(0)[0] == 0


def test_plan_ignores_meta_as_often_as_asked(tmp_path: Path):
    packer = Packer(some_documents(tmp_path, 400), 40, bos=BOS, eos=EOS, ignore_meta=0.25)
    dropped = [packer.plan(epoch).without_code for epoch in range(10)]
    assert np.mean(dropped) == pytest.approx(0.25, abs=0.03)
    assert (dropped[0] != dropped[1]).any()


def test_batch_of_hand_made_documents(tmp_path: Path):
    bins = write_documents(tmp_path / "a", Document("ab", ("m",)), Document("c"))
    packer = Packer(bins, 10, bos=BOS, eos=EOS)
    batch = packer.batch(packer.plan(None), [0])
    a, b, c, m, line = map(ord, "abcm\n")
    assert batch.token_ids.tolist() == [[BOS, m, line, a, b, EOS, BOS, c, EOS]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2]]
    assert batch.document_ids.tolist() == [[0, 0, 0, 0, 0, 0, 1, 1, 1]]
    assert batch.targets.tolist() == [[-100, -100, a, b, EOS, -100, c, EOS, -100]]
    assert batch.ancestors is None
    assert {part.dtype for part in batch[:4]} == {torch.int64}


def test_batch_fills_shorter_rows_with_nothing(tmp_path: Path):
    bins = write_documents(tmp_path / "a", Document("abcd"), Document("e"))
    packer = Packer(bins, 6, bos=BOS, eos=EOS)
    batch = packer.batch(packer.plan(None), [0, 1])
    assert batch.token_ids[1].tolist() == [BOS, ord("e"), EOS, BOS, BOS, BOS]
    assert batch.document_ids[1].tolist() == [0, 0, 0, -1, -1, -1]
    assert batch.targets[1].tolist() == [ord("e"), EOS, -100, -100, -100, -100]


def test_batches_of_an_epoch_learn_every_id_once_also_without_code(tmp_path: Path):
    documents = [Document(ALPHABET[:length], ("m",)) for length in (1, 4, 26, 20, 9)]
    bins = write_documents(tmp_path / "a", *documents)
    packer = Packer(bins, 11, bos=BOS, eos=EOS, ignore_meta=0.5, overlap=2)
    plan = packer.plan(0)
    assert plan.without_code.any()
    assert not plan.without_code.all()
    batch = packer.batch(plan, [*range(len(plan))])
    learnt = Counter(batch.targets[batch.targets >= 0].tolist())
    assert learnt == Counter([ord(each) for document in documents for each in document.body] + [EOS] * 5)
    follows = batch.targets[:, :-1] == batch.token_ids[:, 1:]
    assert follows[batch.targets[:, :-1] >= 0].all()


def attention(batch: PackedBatch, embedded: Tensor) -> Tensor:
    """What SDPA makes of a row under the mask: (B, L, 4)."""
    seen = mask(batch.document_ids, batch.ancestors)
    found: Tensor = scaled_dot_product_attention(
        embedded[:, None], embedded[:, None], embedded[:, None], attn_mask=seen
    )
    return found[:, 0]


def test_mask_lets_no_token_see_another_document_exactly(tmp_path: Path):
    packer = Packer(some_documents(tmp_path), 40, bos=BOS, eos=EOS)
    plan = packer.plan(0)
    batch = packer.batch(plan, [*range(len(plan))])
    torch.manual_seed(0)
    embedded = torch.randn(*batch.token_ids.shape, 4)
    before = attention(batch, embedded)
    second = batch.document_ids == 1
    changed = attention(batch, torch.where(second[..., None], embedded + 1, embedded))
    assert torch.equal(before[~second], changed[~second])
    assert not torch.equal(before[second], changed[second])
    assert before.isfinite().all()


def test_mask_is_causal_within_documents_and_in_no_row_empty():
    seen = mask(torch.tensor([[0, 0, 1, -1, -1]]))[0, 0]
    assert seen.int().tolist() == [
        *([1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]),
    ]


def test_mask_lets_tokens_see_the_documents_that_theirs_sees():
    ancestors = torch.tensor([[[1, 0, 0], [0, 1, 0], [1, 0, 1]]], dtype=torch.bool)
    seen = mask(torch.tensor([[0, 1, 1, 2, 2, -1]]), ancestors)[0, 0]
    assert seen.int().tolist() == [
        *([1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]),
        *([1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]),
    ]
