"""A stream of shards gives every sample once an epoch, to whoever shares it, and goes on exactly where it stopped."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from preprocessors.collator import IGNORE_INDEX, CaptionCollator
from preprocessors.formats.webdataset import ShardSample
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import ImageTransform, load_image
from preprocessors.streaming.dataset import StreamedCaptions, number_of
from preprocessors.streaming.lanes import StreamPlan, lane_samples
from preprocessors.text.styles import StyleRegistry
from tests.container_files import shard_of, write_tar

SIZES = (1, 7, 3, 4, 2, 6, 5, 1, 3)  # of nine shards, 32 samples together
BATCH = 2


class HashedWords:
    """Ids of words that every process makes alike."""

    bos_token_id, pad_token_id, eos_token_id = 0, 1, 2

    def encode_text(self, text, max_length=None):
        return [10 + hashlib.sha256(word.encode()).digest()[0] for word in text.split()][:max_length]


class TellsEpoch(OFAStylePreprocessor):
    """Puts the epoch where the prompt was; crops are drawn as ever."""

    def encode(self, example, *, epoch=0, **others):
        encoded = super().encode(example, epoch=epoch, **others)
        encoded["input_ids"] = [epoch]
        return encoded


@pytest.fixture
def shards(tmp_path):
    """Shards of different sizes; every sample has a number of its own."""
    made = []
    for number, size in enumerate(SIZES):
        first = sum(SIZES[:number])
        made.append(write_tar(tmp_path / "data" / f"{number:03d}.tar", shard_of(range(first, first + size))))
    return tuple(made)


@pytest.fixture
def names(shards):
    """Name of each sample's picture."""
    return [
        f"{number:03d}.tar/{sum(SIZES[:number]) + place:06d}.png"
        for number, size in enumerate(SIZES)
        for place in range(size)
    ]


@pytest.fixture
def stream(shards):
    """Makes a stream that ``ranks`` processes share."""

    def make(ranks=1, *, seed=3, lanes=4, buffer=3, on_bad_image="error", on_bad_row="error", length=400):
        plan = StreamPlan(shards, shards[0].parent, seed, lanes, buffer)
        transform = ImageTransform(4, random_crop_from=9)
        preprocessor = TellsEpoch(HashedWords(), StyleRegistry(["calm"]), image_transform=transform, prompt="{}")
        rest = {"ranks": ranks, "on_bad_image": on_bad_image, "on_bad_row": on_bad_row}
        return StreamedCaptions(plan, preprocessor, batch_size=BATCH, length=length, **rest)

    return make


def take(data, count, workers=0, *, rank=0, start=0):
    """The batches of a rank from its ``start``-th on, as a loader gives them."""
    numbers = [batch * data.ranks + rank for batch in range(start, start + count)]
    places = [range(number * BATCH, (number + 1) * BATCH) for number in numbers]
    return [*DataLoader(data, batch_sampler=places, collate_fn=CaptionCollator(pad_token_id=1), num_workers=workers)]


def seen(batches):
    """(epoch, row) of all rows, in order."""
    return [
        (int(epoch), int(row))
        for batch in batches
        for epoch, row in zip(batch["input_ids"], batch["rows"], strict=True)
    ]


def equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    return True


def test_two_ranks_with_two_workers_see_every_sample_once_an_epoch(stream, names):
    shares = [seen(take(stream(2), 24, workers=2, rank=rank)) for rank in range(2)]
    counts = Counter(shares[0] + shares[1])
    for epoch in (0, 1):
        assert {row: counts[epoch, row] for row in map(number_of, names)} == {number_of(name): 1 for name in names}
    assert not set(shares[0]) & set(shares[1])
    assert len(shares[0]) == len(shares[1]) == 24 * BATCH  # as many steps on each, though their shards differ


def test_order_depends_on_seed_and_epoch(stream, names):
    def orders(**options):
        found = seen(take(stream(**options), 40))
        return [[row for epoch, row in found if epoch == wanted] for wanted in (0, 1)]

    first = orders()
    assert orders() == first
    assert sorted(first[0]) == sorted(first[1]) == sorted(map(number_of, names))
    assert first[0] != first[1]
    assert orders(seed=4)[0] != first[0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 2), (4, 0), (1, 4)])
def test_batches_do_not_depend_on_who_reads_them(stream, ranks, workers):
    alone = take(stream(), 16)
    shares = [take(stream(ranks), 16 // ranks, workers, rank=rank) for rank in range(ranks)]
    assert equal([batch for together in zip(*shares, strict=True) for batch in together], alone)


@pytest.mark.parametrize("done", [1, 2, 7, 22])
def test_stream_goes_on_where_it_stopped(stream, done):
    """At 22 batches all lanes are in their second epoch; crops and captions are those of an uninterrupted stream."""
    whole = take(stream(2), done + 6, workers=2, rank=1)
    assert equal(take(stream(2), 6, workers=2, rank=1, start=done), whole[done:])
    assert equal(take(stream(2), 6, rank=1, start=done), whole[done:])


def test_epochs_of_a_run_follow_one_another_in_the_stream(stream):
    whole = take(stream(), 12)
    short = stream(length=8 * BATCH)
    first = take(short, 8, workers=2)
    short.set_epoch(1)
    assert equal([*first, *take(short, 4, workers=2)], whole)
    assert torch.equal(short[3]["patch_image"], whole[9]["patch_images"][1])


def test_workers_do_not_go_on_with_the_files_of_the_process_that_started_them(stream):
    whole = take(stream(), 8)
    data = stream()
    assert equal(take(data, 4), whole[:4])
    assert equal(take(data, 4, workers=2, start=4), whole[4:])
    assert equal(take(data, 4, start=4), whole[4:])


def test_rows_that_are_no_batch_are_refused(stream):
    for rows in ([1, 2], [0, 2], [0], [0, 1, 2]):
        with pytest.raises(ValueError, match="are no batch of 2: a stream has an order"):
            stream().__getitems__(rows)
    with pytest.raises(ValueError, match="an epoch of 5 rows does not consist of batches of 2"):
        stream(length=5)


def test_skipped_samples_are_not_read(shards, monkeypatch):
    plan = StreamPlan(shards, shards[0].parent, 3, 2, buffer=3)
    read = []
    genuine = ShardSample.read
    monkeypatch.setattr(ShardSample, "read", lambda self: read.append(self.key) or genuine(self))
    whole = [item.sample.key for item in islice(lane_samples(plan, 0), 12)]
    read.clear()
    rest = list(islice(lane_samples(plan, 0, skip=10), 2))
    assert [item.sample.key for item in rest] == whole[10:]
    assert not set(read) & set(whole[:10])


def test_lanes_hold_all_shards_between_them_and_deal_them_anew(shards):
    plan = StreamPlan(shards, shards[0].parent, 3, 4)
    dealt = [[plan.shards_of(lane, epoch) for lane in range(4)] for epoch in (0, 1)]
    for lanes in dealt:
        assert sorted(shard for lane in lanes for shard in lane) == sorted(shards)
    assert dealt[0] != dealt[1]


def test_buffer_mixes_the_samples_of_a_lane(shards):
    def keys(buffer):
        return [
            item.sample.key for item in islice(lane_samples(StreamPlan(shards, shards[0].parent, 3, 1, buffer), 0), 32)
        ]

    assert sorted(keys(8)) == sorted(keys(1)) == sorted(keys(100))
    order = [sample for shard in StreamPlan(shards, shards[0].parent, 3, 1).shards_of(0, 0) for sample in _keys(shard)]
    assert keys(8) != order
    assert keys(100) != keys(8)


def _keys(shard):
    number = int(shard.stem)
    return [f"{sum(SIZES[:number]) + place:06d}" for place in range(SIZES[number])]


def test_pixels_are_those_of_the_file(stream, shards, names):
    by_number = {number_of(name): name for name in names}
    data = stream()
    data.preprocessor.image_transform = ImageTransform(4)
    for batch in take(data, 4):
        for row, pixels in zip(batch["rows"].tolist(), batch["patch_images"], strict=True):
            expected = data.preprocessor.image_transform.pixels(load_image(shards[0].parent / by_number[row]))
            assert torch.equal(pixels, expected)


@pytest.fixture
def bad_shard(shards):
    """The second shard again, with a picture cut short (8), a blank caption (9) and samples without a part."""
    members = shard_of(range(8, 8 + SIZES[1]))
    members["000008.png"] = members["000008.png"][:40]
    members["000009.txt"] = b" "
    del members["000010.txt"]
    return write_tar(shards[1], members)


def test_bad_picture_stops_and_is_named(stream, bad_shard):
    with pytest.raises(
        ValueError, match=r"001.tar.*(000008.png: the picture cannot be read|sample 000009: no caption)"
    ):
        take(stream(), 16, workers=2)


def test_bad_picture_that_is_skipped_teaches_nothing_and_moves_nothing(stream, bad_shard, caplog):
    with caplog.at_level(logging.WARNING):
        batches = take(stream(on_bad_image="skip", on_bad_row="skip"), 18)
    blank = {
        int(row): (batch["labels"][place].tolist(), bool(batch["patch_masks"][place]))
        for batch in batches
        for place, row in enumerate(batch["rows"])
    }
    for name in ("001.tar/000008.png", "001.tar/000009.png"):
        labels, has_picture = blank.pop(number_of(name))
        assert {*labels} == {IGNORE_INDEX}
        assert not has_picture
        assert f"nothing is learnt from {name}" in caplog.text
    assert all(has_picture and labels[0] != IGNORE_INDEX for labels, has_picture in blank.values())
    assert {batch["patch_images"].dtype for batch in batches} == {torch.uint8}  # or it would not be normalised
    assert number_of("001.tar/000010.png") not in blank
    # Batch norms count a picture once: they do not see that there is a row more.
    mixed = [batch for batch in batches if 0 < int(batch["patch_masks"].sum()) < BATCH]
    assert mixed
    assert all(len(batch["patch_images"]) == 1 and bool(batch["patch_images"].any()) for batch in mixed)
    assert "001.tar: left out 1 picture without a caption" in caplog.text
    assert equal(take(stream(on_bad_image="skip", on_bad_row="skip"), 13, start=5), batches[5:])
    with pytest.raises(ValueError, match=r"sample 000009: no caption.*data.on_bad_row=skip"):
        take(stream(on_bad_image="skip"), 18)
    with pytest.raises(ValueError, match=r"000008.png: the picture cannot be read.*data.on_bad_image=skip"):
        take(stream(on_bad_row="skip"), 18)


def test_unknown_style_stops_whatever_becomes_of_bad_pictures(stream, shards):
    members = shard_of(range(8, 8 + SIZES[1])) | {"000008.cls": b"clam"}
    write_tar(shards[1], dict(sorted(members.items())))
    with pytest.raises(ValueError, match=r"001.tar, sample 000008: .*clam.*calm"):
        take(stream(on_bad_image="skip"), 16)


def test_shard_that_is_cut_short_stops_the_stream_in_a_worker_too(stream, shards):
    shards[4].write_bytes(shards[4].read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"004.tar: the tar is damaged or cut short"):
        take(stream(), 16, workers=2)


def test_shards_without_a_sample_end_the_stream_instead_of_turning_for_ever(tmp_path):
    shard = write_tar(tmp_path / "0.tar", {"a.txt": b"no picture"})
    with pytest.raises(ValueError, match=r"0.tar: this shard and the others of its lane hold no picture"):
        next(lane_samples(StreamPlan((shard,), tmp_path, 0, 1), 0))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_lanes_that_cannot_be_dealt_out_are_refused(stream, shards):
    with pytest.raises(ValueError, match="cannot be dealt out to 2 ranks with 3 workers each; use a mul.* 6"):
        take(stream(2), 1, workers=3)
    with pytest.raises(ValueError, match="stream_lanes=16: .* has 9 shards, and each lane needs one of its own"):
        stream(lanes=16)
    with pytest.raises(ValueError, match="must be at least 1"):
        stream(buffer=0)
