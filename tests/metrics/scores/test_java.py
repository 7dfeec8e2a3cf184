from __future__ import annotations

import re

import pytest

from metrics.scores.java import JavaProcess, MetricUnavailable, find_java, java_version

SHELL = "/bin/sh"


def test_java_process_gets_text_and_arguments_and_gives_both_outputs(fake_java):
    fake_java("/bin/cat\necho $# $2\necho careful >&2", SHELL)

    with JavaProcess(["-jar", "a b.jar"], time_limit=60, text="red é\ud800\n") as java:
        assert java.wait() == ("red é?\n2 a b.jar\n", "careful\n")


def test_java_process_more_text_than_a_pipe_holds_does_not_block(fake_java):
    fake_java("/bin/cat\n/bin/cat /dev/null", SHELL)
    text = "a dog runs\n" * 200_000

    with JavaProcess([], time_limit=60, text=text) as java:
        assert java.wait() == (text, "")


def test_java_process_over_its_time_limit_is_ended_with_its_children(hanging_java, all_ended):
    with JavaProcess([], time_limit=1) as java:
        process_ids = hanging_java()
        with pytest.raises(MetricUnavailable, match="ended after its time limit of 1 s"):
            java.wait()
        assert all_ended(process_ids)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError])
def test_java_process_exception_in_the_block_ends_it_and_its_children(hanging_java, all_ended, exception):
    process_ids = []

    def interrupted():
        with JavaProcess([], time_limit=60):
            process_ids.extend(hanging_java())
            raise exception

    with pytest.raises(exception):
        interrupted()

    assert all_ended(process_ids)


def test_java_process_script_that_ends_before_its_child_leaves_no_child(fake_java, all_ended):
    folder = fake_java('/bin/sleep 1000 &\necho $! > "${0%/*}/child"', SHELL)

    with JavaProcess([], time_limit=60) as java:
        java.wait()

    assert all_ended([int((folder / "child").read_text())])


def test_java_process_killed_from_outside_names_the_signal(fake_java):
    fake_java("kill -9 $$", SHELL)

    with JavaProcess([], time_limit=60) as java, pytest.raises(MetricUnavailable, match="killed by SIGKILL"):
        java.wait()


def test_java_process_that_fails_shows_the_end_of_its_message(fake_java):
    fake_java("echo garbage\necho no such jar >&2\nexit 3", SHELL)

    with JavaProcess([], time_limit=60) as java, pytest.raises(MetricUnavailable, match="exit code 3: no such jar$"):
        java.wait()


def test_java_process_that_cannot_start_says_so(fake_java):
    folder = fake_java("")
    (folder / "java").write_text("#!/no/such/interpreter\n")

    with pytest.raises(MetricUnavailable, match=r"Java cannot be started \(.*\); install a Java runtime"):
        JavaProcess([], time_limit=60)


def test_find_java_none_on_path_says_what_to_install(fake_java):
    fake_java(None)

    with pytest.raises(MetricUnavailable, match="no Java on PATH; install a Java runtime, e.g. `apt install"):
        find_java()


@pytest.mark.parametrize(
    ("program", "version"),
    [
        ("""echo 'openjdk version "17.0.15" 2025-04-15' >&2""", "17.0.15"),
        ("""echo 'java version "1.8.0_292"' >&2""", "1.8.0_292"),
        ("echo 'I am no Java' >&2", None),
        ("""echo 'openjdk version "17"' >&2; exit 1""", None),
        (None, None),
    ],
)
def test_java_version_reads_what_java_prints(fake_java, program, version):
    fake_java(program, SHELL)

    assert java_version() == version


@pytest.mark.java
def test_java_version_of_the_installed_java_is_a_number():
    assert re.match(r"\d+", java_version())
