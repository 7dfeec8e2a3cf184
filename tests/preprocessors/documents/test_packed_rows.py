from __future__ import annotations

from collections import Counter
from copy import copy
from functools import lru_cache

import numpy as np
import pytest
import torch

from preprocessors.documents.codes import ControlCodes
from preprocessors.documents.interface import Document
from preprocessors.documents.packed_rows import PackedCollator, PackedRow, TrainingRows, ValidationRows
from preprocessors.documents.packing import PackedBatch, Packer
from preprocessors.documents.reading import Batch
from preprocessors.documents.token_bins import TokenBins
from preprocessors.documents.writing import Limits, Writer

CONTEXT = 45


@pytest.fixture(scope="module")
def bins(tokenizer, tmp_path_factory) -> TokenBins:
    """Forty documents, each of a letter of its own and of 1 to 30 ids."""
    folder = tmp_path_factory.mktemp("bins") / "train"
    codes = ControlCodes(tokenizer, None)
    writer = Writer(folder, codes, key="k", limits=Limits(), on_bad_row="error", about={"source": "here"})
    texts = [chr(0x4E00 + number) * (1 + number % 7) for number in range(40)]
    ids = tokenizer.encode_batch(texts)
    documents = [Document(text, ("x",)) for text in texts]
    writer.write(Batch(documents, [], (1,), 1), [np.array(row, writer.dtype).tobytes() for row in ids])
    writer.finish()
    return TokenBins.open(folder, tokenizer, None)


@pytest.fixture
def packer(bins, tokenizer) -> Packer:
    return Packer(bins, CONTEXT, bos=tokenizer.bos_id, eos=tokenizer.eos_id, ignore_meta=0.5, seed=3)


def documents_of(row: PackedRow, tokenizer) -> list[str]:
    ids, numbers = row.packed.token_ids[0], row.packed.document_ids[0]
    return [tokenizer.decode(ids[numbers == number].tolist())[-1] for number in range(int(numbers.max()) + 1)]


def test_epochs_have_a_length_and_every_document_comes_as_often_as_the_others(packer, tokenizer):
    rows = TrainingRows(packer)
    packings = [len(packer.plan(epoch)) for epoch in range(12)]
    assert len(set(packings)) > 1  # or the test would say nothing
    seen: Counter[str] = Counter()
    for epoch in range(10):
        rows.set_epoch(epoch)
        assert len(rows) == packings[0]
        for number in range(len(rows)):
            seen.update(documents_of(rows[number], tokenizer))
    assert len(seen) == 40
    assert max(seen.values()) - min(seen.values()) <= 1


def test_a_row_is_the_same_whatever_was_asked_for_before(packer):
    rows = TrainingRows(packer)
    rows.set_epoch(7)
    late = rows[len(rows) - 1].packed
    for epoch in (0, 3, 7):
        rows.set_epoch(epoch)
        for number in range(len(rows)):
            last = rows[number].packed
    for one, other in zip(late[:4], last[:4], strict=True):
        assert torch.equal(one, other)


def test_workers_of_an_epoch_do_not_pack_the_epochs_before(packer):
    rows, plan, packed = TrainingRows(packer), packer.plan, []
    rows.set_epoch(8)
    worker = copy(rows)  # as it is when it begins
    worker._plan = lru_cache(maxsize=2)(lambda epoch: packed.append(epoch) or plan(epoch))
    for number in range(len(rows)):
        assert torch.equal(worker[number].packed.token_ids, rows[number].packed.token_ids)
    assert packed
    assert min(packed) >= 7
    assert len(packed) <= 3


def test_validation_rows_are_the_first_of_one_packing(packer):
    every, some = ValidationRows(packer), ValidationRows(packer, 2)
    assert (len(every), len(some)) == (len(packer.plan(None)), 2)
    assert len(ValidationRows(packer, 10_000)) == len(every)
    assert torch.equal(every[1].packed.token_ids, some[1].packed.token_ids)


def test_collator_fills_rows_up_to_the_longest_as_the_packer_does(packer, tokenizer):
    rows, collator = ValidationRows(packer), PackedCollator(tokenizer.bos_id)
    whole = packer.batch(packer.plan(None), range(len(rows)))
    batch = collator([rows[number] for number in range(len(rows))])
    assert batch.keys() == {"rows", "token_ids", "position_ids", "document_ids", "targets"}
    assert batch["rows"].tolist() == list(range(len(rows)))
    for name in batch.keys() - {"rows"}:
        assert torch.equal(batch[name], getattr(whole, name)), name


def test_collator_fills_up_who_sees_whom():
    tensors = [torch.zeros(1, length, dtype=torch.int64) for length in (3, 2)]
    sees = [torch.ones(1, 1, 1, dtype=torch.bool), torch.tensor([[[True, False], [True, True]]])]
    rows = [PackedRow(number, PackedBatch(*[tensors[number]] * 4, sees[number])) for number in (0, 1)]
    assert PackedCollator(9)(rows)["ancestors"].int().tolist() == [[[1, 0], [0, 0]], [[1, 0], [1, 1]]]
