"""`finetune.py doctor`: what it finds on machines that lack something."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from finetune import main
from models import new_captioner
from models.captioner import NewModel
from pipeline.doctor import installation, machine

REPOSITORY = Path(__file__).resolve().parents[1]
Usage = namedtuple("Usage", "total used free")


def examined(capsys, *, code: int) -> dict[str, tuple[str, str, str]]:
    """Status, what was found and advice, by what was looked at."""
    assert main(["doctor", "--json"]) == code
    findings = json.loads(capsys.readouterr().out)["findings"]
    return {row["what"]: (row["status"], row["found"], row["advice"]) for row in findings}


def test_this_machine_is_sound_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = examined(capsys, code=0)
    assert found["packages of requirements.txt"][0] == "ok"
    assert "tiny (0.27 GiB)" in found["sizes that can be trained"][1]
    assert [*tmp_path.iterdir()] == []
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found)
    assert all(line.startswith(("ok ", "note ")) for line in lines)


def test_parameters_are_counted_without_the_model():
    model = new_captioner(NewModel("nano", {}, ["a photo"], ["style"], 300, 0, 0)).module
    assert machine.count_parameters("nano") == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("versions", "what", "finding"),
    [
        ({"torch": "2.13.0+cu130"}, "requirements.txt", ("ok", "19 as pinned", "")),
        (
            {"torch": "2.9.1+cpu", "tqdm": None},
            "requirements.txt",
            ("fault", "tqdm is missing; torch 2.9.1+cpu instead of 2.13.0", "bash scripts/setup.sh"),
        ),
        (
            {"fastapi": None},
            "requirements-serve.txt",
            ("note", "not installed: fastapi", "for the service and the Telegram bot: bash scripts/setup.sh --serve"),
        ),
    ],
)
def test_packages_that_differ_from_their_pins_are_named(versions, what, finding, monkeypatch):
    read = installation.version_of
    monkeypatch.setattr(installation, "version_of", lambda name: versions[name] if name in versions else read(name))
    status, _, found, advice = installation._packages(REPOSITORY / what)
    assert (status, found, advice) == finding


def test_packages_that_cannot_be_imported_end_in_advice():
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['finetune.py', 'doctor']; "
        "import runpy; runpy.run_path('finetune.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FAULT")]
    assert "torch" in line
    assert line.endswith("->  bash scripts/setup.sh")


def test_work_folder_that_cannot_be_written_to_is_a_fault(monkeypatch, capsys):
    monkeypatch.setattr(installation.os, "access", lambda path, mode: False)
    status, found, advice = examined(capsys, code=1)["disk"]
    assert (status, found.endswith("cannot be written to")) == ("fault", True)
    assert "--set work_dir" in advice


def test_little_room_and_no_java_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(installation.shutil, "disk_usage", lambda folder: Usage(2**40, 2**40, 2**30))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {finding.what: finding for finding in installation.examine_installation(tmp_path / "a" / "b")}
    assert found["disk"][:3] == ("note", "disk", f"1.0 GiB free in {tmp_path}")
    assert found["Java"].found == "none"


def test_driver_without_a_torch_for_it_is_a_fault(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A100'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    (found,) = machine._devices()
    assert found.status == "fault"
    assert found.found.startswith("NVIDIA A100 is there, and torch ")


def test_two_gpus_are_told_with_the_command_that_uses_both(monkeypatch):
    about = namedtuple("About", "name")("NVIDIA A100")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (30 * 2**30, 40 * 2**30))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    first, _, both = machine._devices()
    assert first.found == "NVIDIA A100, 30.0 of 40.0 GiB free, bf16"
    assert both.advice == "torchrun --nproc_per_node 2 finetune.py ..."


def test_small_memory_names_the_sizes_that_still_fit(monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**30)
    memory = next(finding for finding in machine._memory() if finding.what == "memory")
    assert memory.status == "note"
    assert "limit of a container" in memory.found
    assert machine._sizes().found == "nano (0.02 GiB), tiny (0.27 GiB)"
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**24)
    assert machine._sizes()[:3] == ("fault", "sizes that can be trained", "none")


def test_small_shared_memory_of_a_container_is_told(monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: Usage(2**26, 0, 2**26))
    (shared,) = [finding for finding in machine._memory() if finding.what == "shared memory"]
    assert shared[2:] == ("64 MiB in /dev/shm", "docker run --shm-size=2g, or leave train.num_workers at 0")


def test_more_threads_than_cores_are_told(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    cores = next(finding for finding in machine._limits() if finding.what == "cores")
    assert cores.status == "note"
    assert cores.advice.startswith("OMP_NUM_THREADS=")
