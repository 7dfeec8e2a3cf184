from __future__ import annotations

import pytest
import torch

from trainers.fitting import largest_that_fits, longest_rows
from trainers.pieces import StepStart, split_batch

BATCH = {
    "rows": torch.tensor([10, 11, 12, 13, 14]),
    "labels": torch.arange(15).view(5, 3),
    "masked_labels": torch.arange(10).view(5, 2),
}
PICTURES = torch.arange(3.0).view(3, 1) + 100


def test_pieces_have_the_rows_in_order_and_every_column():
    pieces = split_batch(BATCH, 2)
    assert [piece["rows"].tolist() for piece in pieces] == [[10, 11], [12, 13], [14]]
    for name, whole in BATCH.items():
        assert torch.equal(torch.cat([piece[name] for piece in pieces]), whole)
    assert [piece["labels"].shape for piece in pieces] == [(2, 3), (2, 3), (1, 3)]


@pytest.mark.parametrize("rows", [None, 5, 9])
def test_batch_that_fits_stays_whole(rows):
    (piece,) = split_batch(BATCH, rows)
    assert all(piece[name] is tensor for name, tensor in BATCH.items())


@pytest.mark.parametrize("name", ["patch_images", "image_features"])
def test_shared_pictures_go_with_their_rows(name):
    """Rows show pictures 0 0 1 2 2; a piece whose rows share none has each picture beside its row."""
    shared, apart, last = split_batch(BATCH | {name: PICTURES, "picture_rows": torch.tensor([0, 0, 1, 2, 2])}, 2)
    assert (shared[name].tolist(), shared["picture_rows"].tolist()) == ([[100.0]], [0, 0])
    assert (apart[name].tolist(), "picture_rows" in apart) == ([[101.0], [102.0]], False)
    assert (last[name].tolist(), "picture_rows" in last) == ([[102.0]], False)


def test_pictures_in_another_order_than_rows_stay_beside_them():
    (piece, _) = split_batch(BATCH | {"patch_images": PICTURES, "picture_rows": torch.tensor([2, 0, 1, 1, 0])}, 3)
    assert piece["patch_images"].tolist() == [[102.0], [100.0], [101.0]]


def test_largest_that_fits_is_found_in_few_tries():
    for most in range(1, 40):
        for limit in range(most + 1):
            tried = []
            assert largest_that_fits(most, lambda rows: tried.append(rows) or rows <= limit) == limit  # noqa: B023
            assert len(tried) <= 2 + most.bit_length()


def test_longest_rows_are_repeated_where_there_are_fewer():
    lengths = [3, 9, 1, 7]
    assert longest_rows(lambda epoch, row: lengths[row], 4, 2) == [1, 3]
    assert longest_rows(lambda epoch, row: lengths[row], 4, 6) == [1, 3, 0, 2, 1, 3]


def test_step_that_is_done_again_finds_random_numbers_and_statistics_as_they_were():
    norm = torch.nn.BatchNorm1d(2)
    start = StepStart(norm)
    before = torch.rand(3)
    norm(torch.randn(8, 2))
    assert norm.num_batches_tracked == 1
    start.restore()
    assert torch.equal(torch.rand(3), before)
    assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([0, 0], [1, 1])
    assert norm.num_batches_tracked == 0
