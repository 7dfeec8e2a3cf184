from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import pickle
import random

import pytest
import torch
from PIL import ImageOps

from configuration.loading import load_config
from models.ofa.resnet import ResNet
from models.vision.network import hash_weights
from pipeline.prepare import prepare
from preprocessors.dataset import CaptionDataset
from preprocessors.pictures import row_cache
from preprocessors.pictures.feature_cache import open_features
from preprocessors.pictures.images import MEAN_STD, ImageTransform, load_image
from utils.io import read_json, write_json

TRANSFORM = ImageTransform((32, 48))
ROW_BYTES = 64 * 2 * 3 * 2
"""Features of 32 x 48 pixels at stride 16, 64 channels of float16."""
ROUNDED = {"rtol": 2**-10, "atol": 1e-4}
"""float16 has 11 significant bits."""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(row_cache, "BATCH", 5)  # 12 pictures: an uneven remainder


def make_resnet(seed=1) -> ResNet:
    torch.manual_seed(seed)
    network = ResNet([1, 1, 1], width=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
    network.requires_grad_(False)
    network.freeze_statistics()
    return network


@pytest.fixture
def resnet() -> ResNet:
    return make_resnet()


@pytest.fixture
def images(scenes):
    found = sorted((scenes / "images").glob("*"))[:12]
    assert len(found) == 12
    return found[::-1]


def _open(root, network, images, *, transform=TRANSFORM, limit_mb=10, **others):
    return open_features(root, network, transform, images, weights=hash_weights(network), limit_mb=limit_mb, **others)


def _features(network, image, transform=TRANSFORM) -> torch.Tensor:
    return network(transform(load_image(image))[None])[0]


def _counting(network):
    passed = []
    network.register_forward_hook(lambda module, inputs, output: passed.append(len(output)))
    return passed


def test_kept_features_equal_those_of_each_picture_alone(resnet, images, tmp_path):
    cache = _open(tmp_path, resnet, images)
    (data,) = tmp_path.glob("*/*.bin")
    assert data.stat().st_size == 12 * ROW_BYTES
    for image in images:
        assert cache.get(image).dtype == torch.float32
        torch.testing.assert_close(cache.get(image), _features(resnet, image), **ROUNDED)
    assert len({cache.get(image).sum().item() for image in images}) == 12
    assert images[0] in cache
    assert tmp_path / "unknown.jpg" not in cache


def test_a_second_run_computes_only_pictures_that_are_new(resnet, images, tmp_path):
    first = _open(tmp_path, resnet, images[:7])
    passed = _counting(resnet)
    again = _open(tmp_path, resnet, images[:7])
    assert passed == [1]  # the picture of zeros that tells the shape
    both = _open(tmp_path, resnet, images)
    assert passed == [1, 1, 5]  # and the five that are new
    for image in images[:7]:
        assert torch.equal(again.get(image), first.get(image))
    for image in images:
        torch.testing.assert_close(both.get(image), _features(resnet, image), **ROUNDED)


def test_a_picture_that_changed_is_computed_again(resnet, images, tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(images[0].read_bytes())
    before = _open(tmp_path / "features", resnet, [picture]).get(picture)
    picture.write_bytes(images[1].read_bytes())
    os.utime(picture, ns=(0, 1))
    after = _open(tmp_path / "features", resnet, [picture]).get(picture)
    assert not torch.equal(after, before)
    torch.testing.assert_close(after, _features(resnet, images[1]), **ROUNDED)


def test_weights_size_and_normalisation_have_features_of_their_own(resnet, images, tmp_path):
    _open(tmp_path, resnet, images[:1])
    _open(tmp_path, make_resnet(seed=2), images[:1])
    _open(tmp_path, resnet, images[:1], transform=ImageTransform((48, 32)))
    _open(tmp_path, resnet, images[:1], transform=ImageTransform((32, 48), MEAN_STD["imagenet"]))
    _open(tmp_path, resnet, images[:1])
    assert len(list(tmp_path.glob("*/about.json"))) == 4


def test_views_are_the_picture_its_mirror_image_and_crops_of_both(resnet, images, tmp_path):
    transform = ImageTransform((32, 48), random_crop_from=64)
    image = images[0]
    cache = _open(tmp_path, resnet, images[:2], transform=transform, training_images=[image], views=4)
    whole, crop = load_image(image), random.Random(f"{image.name}/2")
    expected = [
        transform(whole),
        transform(ImageOps.mirror(whole)),
        transform(whole, crop),
        transform(ImageOps.mirror(whole), random.Random(f"{image.name}/3")),
    ]
    for number, pixels in enumerate(expected):
        torch.testing.assert_close(cache.get(image, number), resnet(pixels[None])[0], **ROUNDED)
    assert len({cache.get(image, number).sum().item() for number in range(4)}) == 4
    with pytest.raises(KeyError):
        cache.get(images[1], 1)  # not trained on


@pytest.fixture
def prepared(tiny_document, tmp_path):
    """Training examples, their preprocessor and the vision network of a tiny run."""
    write_json(tmp_path / "conf.json", tiny_document)
    run = prepare(load_config(tmp_path / "conf.json"))
    network = run.captioner.captioner.module.encoder.embed_images.eval()
    return run.data.train.examples, run.captioner.preprocessor(), network


def test_training_draws_views_by_seed_epoch_and_row(prepared, tmp_path):
    examples, preprocessor, network = prepared
    pictures = [example.image_path for example in examples]
    transform = preprocessor.image_transform
    cache = _open(tmp_path / "f", network, pictures, transform=transform, training_images=pictures, views=2)
    training = CaptionDataset(examples, preprocessor, True, features=cache)
    evaluation = CaptionDataset(examples, preprocessor, False, features=cache)
    drawn = set()
    for epoch in range(3):
        training.set_epoch(epoch)
        for row, encoded in enumerate(training.__getitems__(range(len(examples)))):
            views = [cache.get(examples[row].image_path, view) for view in (0, 1)]
            (view,) = [number for number, known in enumerate(views) if torch.equal(known, encoded["image_features"])]
            drawn.add((epoch, row, view))
            assert torch.equal(training[row]["image_features"], views[view])  # alone as in a batch
    assert {view for _, _, view in drawn} == {0, 1}
    assert len({view for _, row, view in drawn if row == 0} | {view for _, row, view in drawn if row == 1}) == 2
    assert all(torch.equal(evaluation[row]["image_features"], cache.get(pictures[row])) for row in (0, 5))


def test_training_examples_with_kept_features_are_those_of_their_pixels(prepared, tmp_path):
    """The cache sees the pixels that training would: same size, same normalisation, none cropped."""
    examples, preprocessor, resnet = prepared
    pictures = [example.image_path for example in examples]
    assert len({*pictures}) < len(pictures)
    cache = _open(tmp_path / "features", resnet, pictures, transform=preprocessor.image_transform)
    plain, cached = (CaptionDataset(examples, preprocessor, True, features=kept) for kept in (None, cache))
    for row in (0, 7, len(examples) - 1):
        expected = plain[row]
        with torch.no_grad():
            features = resnet(preprocessor.image_transform.normalise(expected.pop("patch_image"))[None])[0]
        given = cached[row]
        torch.testing.assert_close(given.pop("image_features"), features, **ROUNDED)
        assert given == expected


def test_a_features_tensor_belongs_to_the_reader(resnet, images, tmp_path):
    cache = _open(tmp_path, resnet, images)
    before = cache.get(images[3]).clone()
    cache.get(images[3]).zero_()
    assert torch.equal(cache.get(images[3]), before)


def test_a_worker_maps_the_file_itself(resnet, images, tmp_path):
    cache = _open(tmp_path, resnet, images)
    expected = cache.get(images[2])  # the file is mapped from here on
    pickled = pickle.dumps(cache)
    assert len(pickled) < 12 * ROW_BYTES / 2
    assert torch.equal(pickle.loads(pickled).get(images[2]), expected)


def test_writing_leaves_the_network_as_it_was(resnet, images, tmp_path):
    resnet.requires_grad_(True).train()
    before = {name: buffer.clone() for name, buffer in resnet.named_buffers()}
    _open(tmp_path, resnet, images)
    assert resnet.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in resnet.named_buffers())


def test_a_damaged_picture_in_the_middle_leaves_no_features(resnet, images, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(images[7].read_bytes()[:200])
    root = tmp_path / "features"
    with pytest.raises(ValueError, match=r"damaged\.png: the picture cannot be read"):
        _open(root, resnet, [*images[:7], damaged, *images[8:]])
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "in_use", "lock"]
    assert _open(root, resnet, images) is not None


def test_a_file_that_was_cut_short_is_computed_again_and_said(resnet, images, tmp_path, caplog):
    _open(tmp_path, resnet, images)
    (data,) = tmp_path.glob("*/*.bin")
    data.write_bytes(data.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING, row_cache.__name__):
        cache = _open(tmp_path, resnet, images)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{data}: damaged; its features are computed again"]
    torch.testing.assert_close(cache.get(images[11]), _features(resnet, images[11]), **ROUNDED)


def test_features_of_another_network_in_the_folder_are_refused(resnet, images, tmp_path):
    _open(tmp_path, resnet, images[:1])
    (about,) = tmp_path.glob("*/about.json")
    write_json(about, read_json(about) | {"weights": "of another"})
    with pytest.raises(ValueError, match="features of another vision network or picture size; delete the folder"):
        _open(tmp_path, resnet, images[:1])


def test_features_fit_up_to_the_limit_and_say_so_beyond(resnet, images, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(row_cache, "MIB", 12 * ROW_BYTES)
    with caplog.at_level(logging.WARNING, row_cache.__name__):
        assert _open(tmp_path / "a", resnet, images, limit_mb=1) is not None
        assert not caplog.records
        assert _open(tmp_path / "b", resnet, images, limit_mb=1, training_images=images[:1], views=2) is None
    (record,) = caplog.records
    assert record.getMessage() == "features need 2 MiB and image.feature_cache_mb is 1: computing them every epoch"


def test_features_that_nobody_reads_make_room_and_those_in_use_stay(resnet, images, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(row_cache, "MIB", 12 * ROW_BYTES)
    networks = [resnet, make_resnet(2), make_resnet(3)]
    first = _open(tmp_path, networks[0], images[:5], limit_mb=1)
    _open(tmp_path, networks[1], images[:5], limit_mb=1)
    assert _open(tmp_path, networks[2], images[:7], limit_mb=1) is not None  # 17 rows are too many
    assert len(list(tmp_path.glob("*/about.json"))) == 2
    torch.testing.assert_close(first.get(images[4]), _features(networks[0], images[4]), **ROUNDED)
    with caplog.at_level(logging.WARNING, row_cache.__name__):
        kept = _open(tmp_path, networks[2], images[:7], limit_mb=1)
        assert _open(tmp_path, networks[1], images[:5], limit_mb=1) is None
    assert "full of features that other runs read" in caplog.text
    assert kept is not None


def _open_in_process(root, images, queue):
    network = make_resnet()
    passed = _counting(network)
    cache = _open(root, network, images)
    queue.put((sum(passed) - 1, cache.get(images[0]).sum().item()))


def test_two_processes_at_once_compute_every_picture_once(images, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_open_in_process, args=(tmp_path, images, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(count for count, _ in results) == [0, 12]
    assert len({value for _, value in results}) == 1


def test_a_cache_holds_its_folder_until_it_is_gone(resnet, images, tmp_path):
    cache = _open(tmp_path, resnet, images)
    with (cache.folder / "in_use").open("wb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = cache.folder
    del cache
    with (folder / "in_use").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_nothing_but_features_is_ever_deleted(resnet, images, tmp_path, monkeypatch):
    """A folder that holds trained runs, say, and is named as the cache."""
    monkeypatch.setattr(row_cache, "MIB", 12 * ROW_BYTES)
    for name in ("run", "0" * 24):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part-1.bin").write_bytes(bytes(20 * ROW_BYTES))
    _open(tmp_path, resnet, images[:7], limit_mb=1)
    _open(tmp_path, make_resnet(2), images[:7], limit_mb=1)
    assert len(list(tmp_path.glob("*/about.json"))) == 1
    assert all((tmp_path / name / "part-1.bin").is_file() for name in ("run", "0" * 24))


def test_nothing_is_deleted_where_that_would_not_be_enough(resnet, images, tmp_path, monkeypatch):
    monkeypatch.setattr(row_cache, "MIB", 12 * ROW_BYTES)
    _open(tmp_path, resnet, images[:3], limit_mb=1)  # nobody reads these
    kept = _open(tmp_path, make_resnet(2), images[:6], limit_mb=1)
    assert _open(tmp_path, make_resnet(3), images[:7], limit_mb=1) is None
    assert len(list(tmp_path.glob("*/*.bin"))) == 2
    assert images[0] in kept


def test_a_folder_that_is_being_written_is_not_deleted(resnet, images, tmp_path, monkeypatch):
    monkeypatch.setattr(row_cache, "MIB", 12 * ROW_BYTES)
    other, seen = make_resnet(2), []

    def meanwhile(module, inputs, output):
        if len(output) > 1 and not seen:
            seen.append(_open(tmp_path, other, images[:8], limit_mb=1))

    resnet.register_forward_hook(meanwhile)
    assert _open(tmp_path, resnet, images[:7], limit_mb=1) is not None
    assert seen == [None]  # room was taken, though nothing was in place yet


def test_features_of_pictures_that_changed_make_room_for_theirs(resnet, images, tmp_path, monkeypatch):
    monkeypatch.setattr(row_cache, "MIB", 12 * ROW_BYTES)
    copies = [tmp_path / f"{number}.png" for number in range(12)]
    for copy, image in zip(copies, images, strict=True):
        copy.write_bytes(image.read_bytes())
    _open(tmp_path / "f", resnet, copies, limit_mb=1)
    for copy in copies:
        os.utime(copy, ns=(0, 1))
    assert _open(tmp_path / "f", resnet, copies, limit_mb=1) is not None
    assert len(list(tmp_path.glob("f/*/*.bin"))) == 1


def test_what_a_killed_process_left_goes(resnet, images, tmp_path):
    folder = _open(tmp_path, resnet, images[:2]).folder
    for name in (".part-1.new", "part-2.bin"):
        (folder / name).write_bytes(b"left")
    _open(tmp_path, resnet, images[:2])
    assert len([path for path in folder.iterdir() if "part-" in path.name]) == 2  # the file and its index


def test_features_that_float16_cannot_hold_are_refused_by_picture(resnet, images, tmp_path):
    resnet.register_forward_hook(lambda module, inputs, output: output + 1e5)
    with pytest.raises(ValueError, match=rf"{images[0].name}: its features are no numbers that float16 holds"):
        _open(tmp_path, resnet, images)
