from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from utils import archive, safe_tar, unpacked
from utils.archive import pack
from utils.hub import resolve_model_folder
from utils.io import read_json, write_json
from utils.manifest import find_faults, read_manifest, seal
from utils.unpacked import find_archive_faults, unpack

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with a sealed model of three files, and a checkpoint that is not packed."""
    root = tmp_path / "runs" / "demo"
    output = root / "output"
    output.mkdir(parents=True)
    (root / "checkpoints/checkpoint-3").mkdir(parents=True)
    (root / "checkpoints/checkpoint-3/model.safetensors").write_bytes(b"c")
    write_json(output / "config.json", {"model_type": "ofa", "vision": {"source": "/home/me/net", "named": False}})
    (output / "pytorch_model.bin").write_bytes(random.Random(0).randbytes(300_000))
    (output / "merges.txt").write_text("#version: 0.2\n")
    seal(output, {"kind": "model"})
    paths = {"annotations": "/home/me/a.json", "images": "~/pictures", "train": "../b.json", "format": "jsonl"}
    write_json(root / "config.json", {"data": paths, "model": {"name": "damo/ofa"}, "work_dir": "work_dir/demo"})
    return root


def _tar(path: Path, members, mode="w:gz") -> Path:
    """Members are TarInfo, or (name, content)."""
    with tarfile.open(path, mode) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member, io.BytesIO(bytes(member.size)) if member.size < 10**6 else None)
            else:
                entry = tarfile.TarInfo(member[0])
                entry.size = len(member[1])
                file.addfile(entry, io.BytesIO(member[1]))
    return path


def _entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, link, size
    return entry


def test_pack_and_unpack_give_the_model_and_its_run_s_configuration(run, tmp_path):
    file = pack(run)
    assert file == run.with_name("demo.tar.gz")
    unpack(file, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("config.json", "pytorch_model.bin", "merges.txt", "run_config.json", "MANIFEST.json")
    }
    for name in ("config.json", "pytorch_model.bin", "merges.txt"):
        assert (tmp_path / "out" / name).read_bytes() == (run / "output" / name).read_bytes()
    assert read_json(tmp_path / "out/run_config.json") == read_json(run / "config.json")
    assert find_faults(tmp_path / "out") == []


def test_pack_of_an_unpacked_folder_gives_the_same_archive(run, tmp_path):
    unpack(pack(run), tmp_path / "demo")
    again = pack(tmp_path / "demo", tmp_path / "again.tar.gz")
    assert again.read_bytes() == run.with_name("demo.tar.gz").read_bytes()


def test_archives_of_equal_models_are_equal_bytes(run, tmp_path):
    first = pack(run, tmp_path / "a.tar.gz").read_bytes()
    time.sleep(1.1)  # a second is what gzip and tar write down
    (run / "output/config.json").touch()
    assert pack(run, tmp_path / "b.tgz").read_bytes() == first
    with tarfile.open(tmp_path / "a.tar.gz") as file:
        members = file.getmembers()
    names = [member.name for member in members]
    assert names == ["demo/MANIFEST.json", *sorted(names[1:])]
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "")}


def test_private_paths_are_removed_on_request_alone(run, tmp_path):
    (run / "output/adapter").mkdir()
    write_json(run / "output/adapter/adapter_config.json", {"base_model_name_or_path": "/home/me/blip", "r": 8})
    seal(run / "output")
    unpack(pack(run, remove_private_paths=True), tmp_path / "out")
    adapter = read_json(tmp_path / "out/adapter/adapter_config.json")
    assert adapter == {"base_model_name_or_path": "<removed>", "r": 8}
    config = read_json(tmp_path / "out/run_config.json")
    assert config["data"] == {
        "annotations": "<removed>",
        "images": "<removed>",
        "train": "<removed>",
        "format": "jsonl",
    }
    assert (config["model"]["name"], config["work_dir"]) == ("damo/ofa", "work_dir/demo")
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"/home/me" not in everything
    assert find_faults(tmp_path / "out") == []


def test_private_path_that_the_model_needs_is_refused(run):
    write_json(run / "output/config.json", {"vision": {"source": "/home/me/net", "named": True}})
    seal(run / "output")
    with pytest.raises(ValueError, match=r"finds it at /home/me/net; train with model\.vision_weights=kept"):
        pack(run, remove_private_paths=True)


def test_pack_of_a_damaged_or_absent_model_is_refused_and_leaves_nothing(run, tmp_path):
    (run / "output/merges.txt").write_text("#version: 0.3\n")
    with pytest.raises(ValueError, match="merges.txt has other content than was saved"):
        pack(run)
    with pytest.raises(FileNotFoundError, match="no model to pack"):
        pack(tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["demo"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("top", ["", "./", "work_dir/x/output/"])
def test_plain_tar_of_the_original_project_is_taken_and_sealed(tmp_path, mode, top):
    members = [(f"{top}config.json", b"{}"), (f"{top}pytorch_model.bin", b"w"), (f"{top}sub/x.txt", b"x")]
    members += [("log.txt", b"beside")] if top.startswith("work_dir") else []
    members = [_entry(top.rstrip("/"), tarfile.DIRTYPE), *members] if top else members
    unpack(_tar(tmp_path / "a.tar", members, mode), tmp_path / "out")
    assert set(read_manifest(tmp_path / "out").files) == {"config.json", "pytorch_model.bin", "sub/x.txt"}


def test_final_model_stands_above_checkpoints_in_one_archive(tmp_path):
    members = [(f"run/{place}/{name}", place.encode()) for place in ("output", "checkpoints/checkpoint-1")
               for name in ("config.json", "model.safetensors")]  # fmt: skip
    unpack(_tar(tmp_path / "a.tar", members, "w"), tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == b"output"


MODEL = [("m/config.json", b"{}"), ("m/pytorch_model.bin", b"w")]
HOSTILE = {
    "absolute path": ([*MODEL, ("/tmp/evil.txt", b"x")], "leads out"),
    "parent folder": ([*MODEL, ("../evil.txt", b"x")], "leads out"),
    "parent inside": ([*MODEL, ("m/../../evil.txt", b"x")], "leads out"),
    "windows path": ([*MODEL, ("m\\..\\evil.txt", b"x")], "leads out"),
    "drive": ([*MODEL, ("C:evil.txt", b"x")], "leads out"),
    "symbolic link": ([*MODEL, _entry("m/link", tarfile.SYMTYPE, "/etc/passwd")], "no plain file"),
    "link inside": ([*MODEL, _entry("m/link", tarfile.SYMTYPE, "config.json")], "no plain file"),
    "hard link": ([*MODEL, _entry("m/link", tarfile.LNKTYPE, "/etc/passwd")], "no plain file"),
    "device": ([*MODEL, _entry("m/null", tarfile.CHRTYPE)], "no plain file"),
    "block device": ([*MODEL, _entry("m/disk", tarfile.BLKTYPE)], "no plain file"),
    "pipe": ([*MODEL, _entry("m/pipe", tarfile.FIFOTYPE)], "no plain file"),
    "contiguous": ([*MODEL, _entry("m/odd", b"S")], "no plain file|damaged"),
    "twice": ([*MODEL, ("m/config.json", b"[]")], "in it twice"),
    "twice but for case": ([*MODEL, ("m/Config.json", b"[]")], "in it twice"),
    "twice by another path": ([*MODEL, ("./m//config.json", b"[]")], "in it twice"),
    "below a file": ([*MODEL, ("m/config.json/x", b"x")], "lies below a file"),
    "file over folder": ([*MODEL, ("m/a/b", b"x"), ("m/a", b"x")], "in it twice"),
    "deep": ([*MODEL, ("a/" * 40 + "x", b"x")], "longer name"),
    "long name": ([*MODEL, ("m/" + "x" * 300, b"x")], "longer name"),
    "many": ([*MODEL, *((f"m/{number}", b"") for number in range(2001))], "more than 2,000 members"),
    "bomb": ([*MODEL, ("m/zeros", bytes(150_000_000))], "grows to more than 100 times"),
    "huge header": ([*MODEL, (("n" * 900 + "/") * 2000 + "x", b"x")], "header of more than a megabyte"),
    "no model": ([("readme.txt", b"x")], "must hold one model folder .* holds none"),
    "two models": ([*MODEL, ("n/config.json", b"{}"), ("n/model.safetensors", b"w")], "holds m, n"),
    "empty": ([], "is empty"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive_is_refused_and_nothing_is_left(tmp_path, case):
    members, message = HOSTILE[case]
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    file = _tar(inner / "x.tar.gz", members)
    started = time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        unpack(file, inner / "out")
    assert time.process_time() - started < 5
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value).splitlines()) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_member_that_claims_a_terabyte_is_refused_by_size(tmp_path):
    header = _entry("m/config.json", size=10**12).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header + bytes(10_000))
    with pytest.raises(ValueError, match=r"holds more than 200,000,000,000 bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"PK\x03\x04 zip", b"x" * 20_000, bytes(10_240)])
def test_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar\.gz: is (no .tar|empty|cut short)"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archive_cut_anywhere_is_refused(tmp_path, mode):
    whole = _tar(tmp_path / "a.tar", [("m/config.json", b"{}" * 300), ("m/model.bin", b"w" * 2000)], mode).read_bytes()
    ends = len(whole.rstrip(b"\0")) + 1024 if mode == "w" else len(whole)
    for end in {*range(0, ends, 97), *range(0, ends, 512)}:
        (tmp_path / "cut.tar").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"cut\.tar: .*(damaged|cut short|empty|no .tar)"):
            unpack(tmp_path / "cut.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_wrong_bit_anywhere_in_an_archive_of_ours_is_found(run, tmp_path):
    whole = bytearray(pack(run).read_bytes())
    draw = random.Random(3)
    for place in (draw.randrange(10 * 8, len(whole) * 8) for _ in range(40)):  # the first bytes of gzip say nothing
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        (tmp_path / "x.tar.gz").write_bytes(broken)
        with pytest.raises(ValueError, match=r"x\.tar\.gz"):
            unpack(tmp_path / "x.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_header_in_a_plain_tar_does_not_hide_what_follows(tmp_path):
    file = _tar(tmp_path / "a.tar", [*MODEL, ("m/later.txt", b"x")], "w")
    whole = bytearray(file.read_bytes())
    whole[4 * 512 + 150] ^= 1  # in the third member's header
    file.write_bytes(whole)
    with pytest.raises(ValueError, match=r"is damaged at byte 2,048"):
        unpack(file, tmp_path / "out")


def test_archive_with_other_content_than_its_manifest_is_refused_and_checked(run, tmp_path, capsys):
    with tarfile.open(pack(run)) as file:
        held = {member.name: file.extractfile(member).read() for member in file}
    held["demo/merges.txt"] = b"#version: 9.9\n"
    changed = _tar(tmp_path / "x.tar.gz", held.items())
    with pytest.raises(ValueError, match=r"x\.tar\.gz: is damaged: merges\.txt has other content"):
        unpack(changed, tmp_path / "out")
    assert find_archive_faults(changed) == ["demo/merges.txt has other content than was packed"]
    assert archive.main(["check", str(changed)]) == 1
    assert archive.main(["check", str(run.with_name("demo.tar.gz"))]) == 0
    assert archive.main(["check", str(run / "output")]) == 0
    (run / "output/merges.txt").unlink()
    assert archive.main(["check", str(run / "output")]) == 1
    assert "merges.txt is missing" in capsys.readouterr().out


def test_gzip_with_something_behind_it_is_refused(run, tmp_path):
    file = pack(run)
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(ValueError, match="is cut short or damaged"):
        unpack(file, tmp_path / "out")


def test_hub_opens_an_archive_once_by_its_content(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(unpacked, "unpack", lambda *given: calls.append(given) or unpack(*given))
    file = pack(run)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(resolve_model_folder, [str(file)] * 4))
    copy = file.rename(tmp_path / "moved.tar.gz")
    folders.add(resolve_model_folder(str(copy)))
    assert len(folders) == len(calls) == 1
    (folder,) = folders
    assert folder.is_relative_to(tmp_path / "work_dir/.archives")
    assert (folder / "config.json").is_file()
    pack(run, copy, remove_private_paths=True)
    assert resolve_model_folder(str(copy)) != folder


def test_several_processes_open_an_archive_at_once(run, tmp_path):
    file = pack(run)
    program = f"import os, sys; sys.path.insert(0, {str(REPOSITORY)!r}); from utils.hub import resolve_model_folder\n"
    program += f"print(resolve_model_folder({str(file)!r}))"
    started = [
        subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    found = {process.communicate()[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 4
    (folder,) = found
    assert find_faults(Path(folder)) == []


def test_commands_pack_unpack_and_seal(run, tmp_path, capsys):
    out = tmp_path / "here.tar.gz"
    assert archive.main(["pack", str(run), "--out", str(out), "--remove_private_paths"]) == 0
    assert archive.main(["unpack", str(out), "--to", str(tmp_path / "there")]) == 0
    assert archive.main(["unpack", str(out), "--to", str(tmp_path / "there")]) == 2
    (tmp_path / "there/merges.txt").write_text("changed")
    assert archive.main(["seal", str(tmp_path / "there")]) == 0
    assert find_faults(tmp_path / "there") == []
    assert archive.main(["seal", str(tmp_path)]) == 2
    assert archive.main(["check", str(tmp_path / "absent")]) == 2
    assert archive.main(["pack", str(run), "--out", str(tmp_path / "x.zip")]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) == 4


def test_disk_without_room_is_told_before_it_is_full(run, tmp_path, monkeypatch):
    file = pack(run)
    monkeypatch.setattr(unpacked.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin has 300,000 bytes, and .* has no room"):
        unpack(file, tmp_path / "out")


def test_memory_of_a_bomb_of_headers_stays_small(tmp_path):
    """A gigabyte of zeros behind a long name that claims it, in a megabyte of gzip."""
    header = _entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=10**9).tobuf(tarfile.GNU_FORMAT)
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as file:
        file.write(header)
        for _ in range(100):
            file.write(bytes(10**6))
    with pytest.raises(ValueError, match="header of more than a megabyte"):
        next(safe_tar.read_archive(tmp_path / "a.tar.gz"))


def test_command_runs_as_a_module(tmp_path: Path):
    program = [sys.executable, "-m", "utils.archive", "check", str(tmp_path / "nowhere")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
