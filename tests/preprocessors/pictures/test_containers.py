"""Pictures are read where they lie in a tar or a TSV as if they were files; what is damaged is named."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from captioning.pictures import read_picture
from pipeline.continuation import hash_pictures
from preprocessors.examples import CaptionExample
from preprocessors.pictures import containers
from preprocessors.pictures.containers import open_container
from preprocessors.pictures.files import (
    hash_picture,
    list_pictures,
    open_picture,
    picture_at_hand,
    stat_picture,
)
from preprocessors.pictures.images import ImageTransform, load_image, verify_images
from preprocessors.pictures.row_cache import View, _key_of
from preprocessors.readers import read_examples
from reports.thumbnails import thumbnail
from tests.container_files import picture_bytes, shard_of, write_tar, write_tsv


def content_of(path: Path) -> bytes:
    with open_picture(path) as file:
        return file.read()


@pytest.fixture
def shard(tmp_path):
    """A tar with pictures 1 and 2 at its top and 3 in a folder."""
    members = {"./1.png": picture_bytes(1), "2.png": picture_bytes(2), "in/side/3.png": picture_bytes(3)}
    return write_tar(tmp_path / "shards" / "000.tar", members)


def test_open_picture_in_a_tar_gives_the_bytes_that_were_put_in(shard):
    for name, number in (("1.png", 1), ("2.png", 2), ("in/side/3.png", 3)):
        assert content_of(shard / name) == picture_bytes(number)
        assert load_image(shard / name).getpixel((0, 0)) == (number, 0, 7)


@pytest.mark.parametrize("url_safe", [False, True])
def test_open_picture_in_a_tsv_is_found_by_its_image_id(tmp_path, url_safe):
    # b"\xfb\xff" is "+/8=" in one alphabet and "-_8=" in the other.
    rows = [("9", "a", b"\xfb\xff"), ("train2014/7", "b&&c", picture_bytes(7)), ("9", "d", b"\xfb\xff")]
    file = write_tsv(tmp_path / "train.tsv", rows, url_safe=url_safe)
    assert content_of(file / "9") == b"\xfb\xff"
    assert content_of(file / "train2014/7") == picture_bytes(7)


def test_open_picture_that_is_not_in_its_container_is_named(shard, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"000.tar: holds no 'in/4.png'"):
        open_picture(shard / "in" / "4.png")
    with pytest.raises(FileNotFoundError, match=r"4.png: picture not found"):
        load_image(shard / "4.png")
    with pytest.raises(FileNotFoundError, match="holds no '4'"):
        stat_picture(write_tsv(tmp_path / "a.tsv", [("1", "a", b"x")]) / "4")
    with pytest.raises(FileNotFoundError):
        open_picture(tmp_path / "no folder" / "a.png")


def test_open_picture_below_a_file_that_is_no_container_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("a note")
    with pytest.raises(ValueError, match=r"notes.txt: is a file and no container of pictures .*\.tar"):
        open_picture(tmp_path / "notes.txt" / "a.png")
    with pytest.raises(ValueError, match="cannot be read"):
        load_image(tmp_path / "notes.txt" / "a.png")


@pytest.mark.parametrize("left", [1, 300, 512 + 10, 2 * 512 + 100])
def test_tar_cut_short_in_a_member_is_refused(shard, left):
    whole = shard.read_bytes()
    first = whole.index(b"2.png")
    shard.write_bytes(whole[: first + left])
    with pytest.raises(ValueError, match=r"000.tar: the tar is damaged or cut short after [12] files"):
        open_container(shard)


def test_tar_cut_short_between_members_is_refused_too(shard):
    whole = shard.read_bytes()
    shard.write_bytes(whole[: whole.index(b"2.png")])
    with pytest.raises(ValueError, match="cut short after 1 files"):
        open_container(shard)


def test_tar_with_a_damaged_header_and_one_that_is_none_are_refused(shard):
    whole = bytearray(shard.read_bytes())
    whole[whole.index(b"2.png") + 150] ^= 0xFF  # in the checksum
    shard.write_bytes(whole)
    with pytest.raises(ValueError, match="damaged or cut short after 1 files"):
        open_container(shard)
    shard.write_bytes(b"not a tar at all" * 100)
    with pytest.raises(ValueError, match="damaged or cut short after 0 files"):
        load_image(shard / "1.png")
    shard.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged or cut short after 0 files"):
        open_container(shard)


def test_bad_base64_is_named_with_its_row(tmp_path):
    file = write_tsv(tmp_path / "train.tsv", [("1", "a", picture_bytes(1)), ("2", "b", picture_bytes(2))])
    text = file.read_text()
    file.write_text(text.replace("sky&&sea\tiVBO", "sky&&sea\ti?BO", 1))
    example = CaptionExample("train.tsv/1#neutral", file / "1", "neutral", ("a",), str(file), 1)
    with pytest.raises(ValueError, match=r"train.tsv, row 1: .*train.tsv/1: the picture cannot be read \(bad base64"):
        verify_images([example], "error")
    file.write_text(text[:-3] + "\n")  # cut in the last picture
    with pytest.raises(ValueError, match="train.tsv/2: the picture cannot be read"):
        load_image(file / "2")


def test_tsv_with_some_bad_rows_holds_the_pictures_of_the_others(tmp_path, caplog):
    file = tmp_path / "a.tsv"
    file.write_text("1\t2\ta caption\n0\t1\ta\tb\tAAAA\n0\t\ta\tb\tAAAA\n1\t3\ta\tb\tBBBB\n")
    held = open_container(file)
    assert [*held.names()] == ["1", "3"]
    assert held.read("3") == base64.b64decode("BBBB")
    assert "a.tsv, row 1: has 3 columns" in caplog.text
    assert "of 2 such rows no picture is read" in caplog.text


def test_tsv_with_other_columns_is_refused_with_its_row(tmp_path):
    file = tmp_path / "a.tsv"
    file.write_text("1\t2\ta caption\n")
    with pytest.raises(ValueError, match=r"a.tsv, row 1: has 3 columns, must have uniq-id, image-id"):
        open_container(file)
    file.write_text("0\t\ta\tb\tAAAA\n")
    with pytest.raises(ValueError, match="row 1: the image-id is blank"):
        open_container(file)
    file.write_bytes(b"0\t1\ta \xff\tb\tAAAA\n")
    with pytest.raises(ValueError, match="row 1: not UTF-8"):
        open_container(file)


def test_pipes_and_folders_are_no_pictures_and_nobody_waits_for_them(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, kind in (("pipe.jpg", "a named pipe, no file"), ("folder.jpg", "a folder"), ("loop.jpg", "in a circle")):
        with pytest.raises(ValueError, match=rf"{name}: the picture cannot be read .*{kind}"):
            load_image(tmp_path / name)
    (tmp_path / "a.jpg").write_bytes(b"")
    assert list_pictures(tmp_path) == {"a.jpg"}


def test_container_that_is_replaced_is_looked_up_anew(shard):
    assert content_of(shard / "1.png") == picture_bytes(1)
    write_tar(shard, {"0.png": picture_bytes(9), "1.png": picture_bytes(8)})
    assert content_of(shard / "1.png") == picture_bytes(8)


def test_cache_forgets_the_containers_that_were_used_longest_ago(tmp_path, monkeypatch):
    cache = containers._Cache()
    monkeypatch.setattr(containers, "MOST_MEMBERS", 5)
    shards = [write_tar(tmp_path / f"{number}.tar", shard_of(range(1))) for number in range(3)]
    first, second = (cache.get(shard) for shard in shards[:2])
    assert cache.get(shards[0]) is first
    cache.get(shards[2])  # six members: the second goes
    assert list(cache._known) == [shards[0], shards[2]]
    assert cache.get(shards[0]) is first
    assert cache.get(shards[1]) is not second
    monkeypatch.setattr(containers, "MOST_MEMBERS", 1)
    assert len(cache.get(shards[2])) == 2  # one stays, however large


def test_threads_read_one_container_at_once(tmp_path):
    shard = write_tar(tmp_path / "a.tar", shard_of(range(60)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(content_of, [shard / f"{number:06d}.png" for number in range(60)]))
    assert found == [picture_bytes(number) for number in range(60)]


def test_fork_in_the_midst_of_a_look_up_leaves_a_child_that_reads(tmp_path):
    shards = [write_tar(tmp_path / f"{number}.tar", shard_of(range(40))) for number in range(2)]
    done = threading.Event()

    def look_up():
        while not done.is_set():
            for shard in shards:
                shard.touch()
                open_container(shard)

    busy = threading.Thread(target=look_up)
    busy.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                signal.alarm(5)
                os._exit(0 if content_of(shards[0] / "000003.png") == picture_bytes(3) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        busy.join()


def test_state_of_a_picture_is_its_size_and_the_containers_time(shard, tmp_path):
    os.utime(shard, ns=(5, 7_000_000_123))
    assert stat_picture(shard / "2.png") == (len(picture_bytes(2)), 7_000_000_123)
    plain = tmp_path / "2.png"
    plain.write_bytes(picture_bytes(2))
    assert stat_picture(plain) == (plain.stat().st_size, plain.stat().st_mtime_ns)
    before = _key_of(View(shard / "2.png", 0))
    assert before == f"{shard.resolve()}/2.png\t{len(picture_bytes(2))}\t7000000123\t0"
    os.utime(shard, ns=(5, 8))
    assert _key_of(View(shard / "2.png", 0)) != before
    with pytest.raises(FileNotFoundError, match="4.png: picture not found"):
        _key_of(View(shard / "4.png", 0))


def test_hash_of_pictures_in_a_container_depends_on_their_content_alone(shard):
    def hashes(number):
        write_tar(shard, {"a/1.png": picture_bytes(number)})
        os.utime(shard, ns=(5, number))
        return hash_pictures([CaptionExample("1.png#calm", shard / "a/1.png", "calm", ("x",))])

    first, other, again = hashes(1), hashes(2), hashes(1)
    assert again == first
    assert first["pictures_sha256"] != other["pictures_sha256"]
    os.utime(shard, ns=(5, 6))
    touched = hash_pictures([CaptionExample("1.png#calm", shard / "a/1.png", "calm", ("x",))])
    assert touched["pictures_sha256"] == first["pictures_sha256"]
    assert touched["picture_times_sha256"] != first["picture_times_sha256"]
    plain = shard.with_name("1.png")
    plain.write_bytes(picture_bytes(1))
    assert hash_picture(plain) == hash_picture(shard / "a/1.png")


def test_annotations_may_name_pictures_in_a_tar(shard, tmp_path):
    lines = [
        f'{{"image": "{name}", "style": "calm", "captions": "a"}}\n' for name in ("1.png", "in/side/3.png", "no.png")
    ]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    places = {"annotations": tmp_path, "images": shard, "split_name": "train"}
    read = read_examples("jsonl", on_bad_image="skip", **places)
    assert [example.image_path for example in read.examples] == [shard / "1.png", shard / "in/side/3.png"]
    assert [(row.row, row.detail) for row in read.dropped] == [(3, str(shard / "no.png"))]
    with pytest.raises(FileNotFoundError, match=r"row 3: no picture .*000.tar/no.png"):
        read_examples("jsonl", **places)
    with pytest.raises(FileNotFoundError, match="folder of pictures not found"):
        read_examples("jsonl", **places | {"images": tmp_path / "none"})


def test_picture_at_hand_stands_for_its_path_alone_and_no_longer_than_asked(tmp_path):
    path = tmp_path / "no.tar" / "1.png"
    with picture_at_hand(path, picture_bytes(4)):
        assert load_image(path).getpixel((0, 0)) == (4, 0, 7)
        with pytest.raises(FileNotFoundError):
            open_picture(tmp_path / "2.png")
    with pytest.raises(FileNotFoundError):
        open_picture(path)


def test_report_and_caption_command_take_a_picture_in_a_tar(shard):
    assert thumbnail(shard / "1.png", 8).startswith("data:image/jpeg")
    assert read_picture(shard / "in/side/3.png", ImageTransform(8)).shape == (3, 8, 8)
    with pytest.raises(FileNotFoundError, match=r"4.png: picture not found; check the path"):
        read_picture(shard / "4.png", ImageTransform(8))


def test_tar_with_a_name_that_is_not_utf_8_is_refused(tmp_path):
    shard = write_tar(tmp_path / "a.tar", {"stra\udcdfe.png": picture_bytes(1)})
    with pytest.raises(ValueError, match=r"a.tar: the name 'stra.udcdfe.png' is not UTF-8"):
        open_container(shard)
    assert list(open_container(write_tar(shard, {"straße.png": picture_bytes(1)})).names()) == ["straße.png"]


def test_bytes_of_a_picture_beyond_the_end_of_its_file_are_missed(tmp_path):
    shard = write_tar(tmp_path / "a.tar", {"1.png": picture_bytes(1)})
    with pytest.raises(ValueError, match="ends in the middle of a picture"):
        containers.read_part(shard, shard.stat().st_size - 4, 8)
    assert containers.read_part(shard, 512, 8) == io.BytesIO(picture_bytes(1)).read(8)


@pytest.mark.parametrize(("pack", "packer"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_compressed_tar_is_refused_as_such(tmp_path: Path, pack: Callable[[bytes], bytes], packer: str):
    tar = write_tar(tmp_path / "000.tar", {"a.png": picture_bytes(1)})
    tar.write_bytes(pack(tar.read_bytes()))
    with pytest.raises(ValueError, match=rf"000.tar: is compressed \({packer}\).*Unpack it"):
        open_container(tar)
