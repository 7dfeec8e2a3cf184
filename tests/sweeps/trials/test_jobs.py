"""Command lines of trials, and what is told of a failed one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from configuration.loading import load_config
from finetune import make_parser
from sweeps.trials.folder import SweepFolder
from sweeps.trials.jobs import LAST_BYTES, START_OF_LOG, Job, finetune_command, in_shell, job_of, last_error
from sweeps.trials.plan import Plan

MakeSweep = Callable[..., tuple[SweepFolder, Plan]]
ODD = "a 'b' \"c\" $HOME `id` \\ * ; & | ! # ü\n{} =, --x"


def test_job_of_is_read_by_finetune_as_base_and_set_and_settings_and_seed(make_sweep: MakeSweep):
    settings = {"train.epochs": 5, "style.neutral": ODD}
    folder, plan = make_sweep(set=settings, seeds=[1, 4], checkpoint="some/folder", halving={"first": 1})
    job = job_of(folder, plan, plan.trials[3], 1.0)
    options = make_parser("train").parse_args(list(job.arguments))
    config = load_config(options.conf, options.set, {"checkpoint": options.checkpoint})
    assert options.conf == folder.base
    assert (options.pause_after, config.model.name, config.model.preset) == (1.0, "some/folder", None)
    assert (config.train.epochs, config.train.lr, config.train.seed) == (5, 2e-3, 4)
    assert config.style.neutral == ODD
    assert config.work_dir == folder.root / "trials/002-seed4"
    assert (job.name, job.log) == ("002-seed4", folder.root / "logs/002-seed4.log")


def test_job_of_last_stretch_does_not_pause_and_without_checkpoint_names_none(make_sweep: MakeSweep):
    folder, plan = make_sweep()
    arguments = job_of(folder, plan, plan.trials[0], None).arguments
    assert not {"--pause_after", "--checkpoint"} & {*arguments}


@pytest.mark.parametrize(
    ("processes", "launcher"),
    [(1, []), (2, ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"])],
)
def test_finetune_command_several_processes_start_under_torchrun(processes: int, launcher: list[str]):
    job = Job("a", ("--conf", "x.json"), Path("a.log"))
    python, *started, program, conf, value = finetune_command(job, processes)
    assert (python, started, conf, value) == (sys.executable, launcher, "--conf", "x.json")
    assert Path(program).is_file()
    assert Path(program).name == "finetune.py"


def test_in_shell_odd_characters_come_back_from_bash():
    """Printed by --dry-run to be typed: what bash makes of the line is what was meant."""
    program = (
        "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['CUDA_VISIBLE_DEVICES'], os.environ['A']]))"
    )
    line = in_shell([sys.executable, "-c", program, ODD, "", "-"], {"CUDA_VISIBLE_DEVICES": "", "A": ODD})
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[ODD, "", "-"], "", ODD]


def test_in_shell_reads_as_one_types_it():
    assert in_shell(["python", "a b.py"], {"CUDA_VISIBLE_DEVICES": "0,1"}) == "CUDA_VISIBLE_DEVICES=0,1 python 'a b.py'"


@pytest.fixture
def told(tmp_path: Path) -> Callable[[str | bytes], str]:
    """The last error of a log with this content."""

    def last(content: str | bytes) -> str:
        (tmp_path / "a.log").write_bytes(content.encode() if isinstance(content, str) else content)
        return last_error(tmp_path / "a.log")

    return last


def test_last_error_is_the_error_if_one_was_told_else_the_last_line(told: Callable[..., str]):
    assert told("step 1\nerror: no such file\nclosing down\n") == "error: no such file"
    assert told("error: first\nerror: second\n") == "error: second"
    assert told("Traceback\n  File\nValueError: bad\n\n  \n") == "ValueError: bad"
    assert told("no newline at the end") == "no newline at the end"


def test_last_error_of_a_silent_or_missing_log_is_empty(told: Callable[..., str], tmp_path: Path):
    assert told("") == ""
    assert told("\n \n") == ""
    assert last_error(tmp_path / "absent.log") == ""


def test_last_error_of_an_earlier_start_is_not_told_again(told: Callable[..., str]):
    first = f"{START_OF_LOG}10:00 python finetune.py\nerror: the data are missing\n"
    assert told(first + f"{START_OF_LOG}11:00 python finetune.py\nstep 3\nKilled\n") == "Killed"
    assert told(first + f"{START_OF_LOG}11:00 python finetune.py\n") == ""


def test_last_error_tells_every_fault_of_a_configuration(told: Callable[..., str]):
    """finetune.py tells several faults in several lines, and their number alone helps nobody."""
    said = told("loading\nerror: 2 faults in the configuration:\n--set a=1: must be 2\n--set b=1: unknown key\n")
    assert "--set a=1: must be 2" in said
    assert "--set b=1: unknown key" in said


def test_last_error_of_a_long_log_reads_its_end_only(told: Callable[..., str]):
    assert told("error: long ago\n" + "x\n" * LAST_BYTES + "the end\n") == "the end"


def test_last_error_bytes_that_are_no_text_are_told_as_far_as_they_are(told: Callable[..., str]):
    assert told(b"error: caf\xe9 \xf0\x9f\n") == "error: caf\ufffd \ufffd"
