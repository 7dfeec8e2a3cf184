from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zipfile

import numpy as np
import pytest

from metrics.scores import java_metrics
from metrics.scores.java import MetricUnavailable, memory_bytes
from metrics.scores.java_metrics import meteor_from_statistics, running_meteor, running_spice
from utils.io import read_json

# What METEOR answers to SCORE, and what it then answers to EVAL for each of these rows and for all together.
SCORE_BY_JAVA = """
10 8 5 4 3 3 4 4 1 1 0 0 0 0 0 0 0 0 0 0 2 8 8
6 6 3 3 3 3 3 3 0 0 0 0 0 0 0 0 0 0 0 0 1 6 6
0 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
13 9 6 4 0 0 2 2 0 0 0 0 0 0 0 0 1 1 0 0 2 3 3
6 9 1 2 3 3 1 1 0 0 0 0 1 1 0 0 0 0 0 0 3 5 5
2 2 0 0 0 0 0 0 0 0 0 0 1 1 0 0 1 1 0 0 1 2 2
0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""
EVAL_BY_JAVA = [0.48615773763215864, 1.0, 0.0, 0.08403930504067629, 0.2588869904888879, 0.7000000000000001, 0.0]
EVAL_OF_ALL_BY_JAVA = 0.30623646312704245

# Captions that a line-based protocol with "|||" between its fields could trip over.
AWKWARD = [
    "",
    " ",
    "a ||| b",
    "|||",
    "||||| a |",
    "a\nb",
    "a\r\nb",
    "\ta\t",
    "SCORE",
    "EVAL ||| 1",
    "é\u2028\x85 \ud800",
]

FAKE_METEOR = """
import sys
print("started", file=sys.stderr)
for line in sys.stdin.buffer.read().decode().split("\\n")[:-1]:
    command, *references, hypothesis = line.split("|||")
    assert command == "SCORE " and "\\r" not in line
    print(*map(float, [len(hypothesis.split()), len(references), *[0] * 21]))
"""

FAKE_SPICE = """
import json, pathlib, sys
note = pathlib.Path(__file__).with_name
if sys.argv[1:] == ["-version"]:
    print('openjdk version "VERSION"', file=sys.stderr)
    sys.exit()
source, target = [pathlib.Path(argument) for argument in sys.argv if argument.endswith(".json")]
rows = json.loads(source.read_text(encoding="ascii"))
note("arguments.json").write_text(json.dumps(sys.argv))
note("rows.json").write_text(json.dumps(rows))
results = [dict(image_id=row["image_id"], scores=dict(All=dict(f=len(row["test"].split()) / 10))) for row in rows[::-1]]
CHANGE
target.write_text(json.dumps(results))
"""

# Each word of a caption is an object: what is left of SPICE is its synonyms, its matching and its file.
STAND_IN_PARSER = """
package edu.anu.spice;

import edu.cmu.meteor.aligner.SynonymDictionary;
import edu.cmu.meteor.util.Constants;
import java.net.URL;
import java.util.*;

public class SpiceParser {
    private final SynonymDictionary synonyms;

    public SpiceParser(String cache, int threads, Boolean merge) throws java.io.IOException {
        String folder = Constants.DEFAULT_SYN_DIR_URL + "/english.";
        synonyms = new SynonymDictionary(
            new URL(folder + "exceptions"), new URL(folder + "synsets"), new URL(folder + "relations"));
    }

    public List<SceneGraph> parseCaptions(List<String> captions, List<Integer> counts) {
        Iterator<String> rest = captions.iterator();
        List<SceneGraph> graphs = new ArrayList<>();
        for (int count : counts) {
            SceneGraph graph = new SceneGraph(synonyms, true);
            for (int i = 0; i < count; i++) for (String word : rest.next().split(" ")) graph.addObject(word);
            graphs.add(graph);
        }
        return graphs;
    }

    public List<SceneGraph> parseCaptions(List<String> captions) {
        return parseCaptions(captions, Collections.nCopies(captions.size(), 1));
    }
}
"""


def statistics_by(java_lines: str) -> np.ndarray:
    return np.array([line.split() for line in java_lines.split("\n") if line]).astype(float)


def meteor(references, hypotheses, **options):
    with running_meteor(references, hypotheses, **options) as wait:
        return wait()


def spice(references, hypotheses, **options):
    with running_spice(references, hypotheses, **options) as wait:
        return wait()


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    """Where this process puts its temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def spice_folder(tmp_path, monkeypatch):
    """A stand-in for pycocoevalcap's folder with both jars that are usually missing."""
    folder = tmp_path / "pycocoevalcap" / "spice"
    (folder / "lib").mkdir(parents=True)
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (folder / "lib" / name).touch()
    monkeypatch.setattr(java_metrics, "_folder", lambda metric: folder.parent / metric)
    return folder


@pytest.fixture
def fake_spice(fake_java, spice_folder):
    return lambda version="11.0.2", change="": fake_java(
        FAKE_SPICE.replace("VERSION", version).replace("CHANGE", change)
    )


def test_meteor_from_statistics_by_hand():
    # 4 words against 5; function words 1 and 2. Exact matches: 2 content words, 1 function word. 2 chunks, 3 words.
    row = np.array([4, 5, 1, 2, 2, 2, 1, 1, *[0] * 12, 2, 3, 3])

    precision = (0.75 * 2 + 0.25 * 1) / (0.75 * 3 + 0.25 * 1)
    recall = (0.75 * 2 + 0.25 * 1) / (0.75 * 3 + 0.25 * 2)
    expected = (1 - 0.6 * (2 / 3) ** 0.2) / (0.15 / precision + 0.85 / recall)
    assert meteor_from_statistics(row) == pytest.approx(expected, abs=1e-15)


def test_meteor_from_statistics_modules_weigh_by_their_kind():
    # One content word of one matches, by its stem (0.6), as a synonym (0.8), as a paraphrase (0.6); in no chunk.
    rows = np.zeros((3, 23))
    rows[:, :2] = rows[:, 21:] = 1
    for row, module in enumerate((1, 2, 3)):
        rows[row, 4 + 4 * module : 6 + 4 * module] = 1

    assert meteor_from_statistics(rows) == pytest.approx([0.6, 0.8, 0.6], abs=1e-15)


def test_meteor_from_statistics_equals_what_java_evaluates(fake_java, tmp_path):
    (tmp_path / "answers").write_text(SCORE_BY_JAVA.strip() + "\n")
    fake_java(f"/bin/cat {tmp_path}/answers", "/bin/sh")

    found = meteor([["a"]] * 7, ["a"] * 7)

    np.testing.assert_allclose(meteor_from_statistics(found), EVAL_BY_JAVA, rtol=0, atol=1e-15)
    assert meteor_from_statistics(found.sum(axis=0)) == pytest.approx(EVAL_OF_ALL_BY_JAVA, abs=1e-15)


def test_meteor_from_statistics_leading_axes_give_the_score_of_each_row():
    rows = statistics_by(SCORE_BY_JAVA)
    cube = np.stack([rows, rows[::-1]])

    expected = meteor_from_statistics(rows)
    assert meteor_from_statistics(cube).tolist() == [expected.tolist(), expected[::-1].tolist()]


@pytest.mark.parametrize("cores", [1, 3, 4])
def test_running_meteor_several_processes_give_rows_in_the_order_of_the_examples(fake_java, monkeypatch, cores):
    fake_java(FAKE_METEOR)
    monkeypatch.setattr(java_metrics, "_cores", lambda: cores)
    monkeypatch.setattr(java_metrics, "_EXAMPLES_PER_PROCESS", 2)
    references = [["a dog"] * (row % 3 + 1) for row in range(11)]

    found = meteor(references, ["dog " * row for row in range(11)])

    assert found.shape == (11, 23)
    assert found[:, 0].tolist() == list(range(11))
    assert found[:, 1].tolist() == [row % 3 + 1 for row in range(11)]


@pytest.mark.parametrize("text", AWKWARD)
def test_running_meteor_awkward_text_stays_one_field_of_one_line(fake_java, text):
    fake_java(FAKE_METEOR)

    found = meteor([["a dog", text], [text], ["a"]], ["a dog", text, "one two three"])

    assert found[:, 1].tolist() == [2, 1, 1]
    assert found[[0, 2], 0].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (FAKE_METEOR.replace("print(*", "break\n    print(*"), "METEOR gave 0 lines for 2 examples"),
        (FAKE_METEOR + "    sys.stdout.flush(); import os; os.kill(os.getpid(), 9)\n", "killed by SIGKILL"),
        (FAKE_METEOR + "    break\n", "METEOR gave 1 lines for 2 examples"),
        (FAKE_METEOR + "print('more')\n", "METEOR gave 3 lines for 2 examples"),
        ("print('Error: specify SCORE', '\\n', 'x')", "the last one is .*x"),
        ("print('1.0 2.0'); print('1.0 2.0')", r"not 23 numbers in each; the last one is \['1.0 2.0'\]"),
        ("import sys; print('garbage'); sys.exit('Unable to access jarfile')", "exit code 1: Unable to access jarfile"),
        (None, "no Java on PATH"),
    ],
)
def test_running_meteor_failing_java_is_a_reason(fake_java, program, reason):
    fake_java(program)

    with pytest.raises(MetricUnavailable, match=reason):
        meteor([["a"], ["b"]], ["a", "b"])


def test_running_meteor_one_of_several_processes_that_hangs_ends_all(hanging_java, all_ended, monkeypatch):
    monkeypatch.setattr(java_metrics, "_cores", lambda: 2)
    monkeypatch.setattr(java_metrics, "_EXAMPLES_PER_PROCESS", 1)

    with running_meteor([["a"]] * 2, ["a"] * 2, time_limit=1) as wait:
        process_ids = hanging_java()
        with pytest.raises(MetricUnavailable, match="time limit of 1 s"):
            wait()

    assert all_ended(process_ids)


@pytest.mark.java
@pytest.mark.slow
def test_running_meteor_real_java_gives_its_scores_and_stays_in_step():
    examples = [
        (
            ["a man riding a wave on a surfboard", "a surfer rides a big wave"],
            "a man rides a wave on top of a surfboard",
        ),
        *[(["a dog", text], text) for text in AWKWARD],
        (["two dogs run", "a cat sits on a mat"], "a cat sits on a mat"),
    ]

    scores = meteor_from_statistics(meteor(*zip(*examples, strict=True)))

    assert scores[[0, -1]] == pytest.approx([EVAL_BY_JAVA[0], 1], abs=1e-15)


@pytest.mark.java
@pytest.mark.slow
def test_running_meteor_coco_example_equals_pycocoevalcap(shared):
    from pycocoevalcap.meteor.meteor import Meteor

    folder = shared / "data" / "coco_fakecap"
    references = read_json(folder / "en_captions_val2014_references_after_tokenization.json")
    results = read_json(folder / "en_captions_val2014_results_after_tokenization.json")
    # Cases that are not in these data: hypotheses like a reference, none, nothing in common, text beyond ASCII.
    references |= {"same": ["a cat sits", "two dogs run"], "empty": ["red circle"], "no": [""], "é": ["un café noir"]}
    results |= {"same": ["two dogs run"], "empty": [""], "no": ["red"], "é": ["a café — noir"]}

    found = meteor(list(references.values()), [texts[0] for texts in results.values()])
    overall, per_example = Meteor().compute_score(references, results)

    np.testing.assert_allclose(meteor_from_statistics(found), per_example, rtol=0, atol=1e-12)
    assert meteor_from_statistics(found.sum(axis=0)) == pytest.approx(overall, abs=1e-12)
    assert f"{meteor_from_statistics(found[:1000].sum(axis=0)):.3f}" == "0.195"


@pytest.mark.parametrize("version", ["1.8.0_292", "11.0.2", "17.0.15", "21-ea"])
def test_running_spice_gives_scores_in_the_order_of_the_examples(fake_spice, version):
    folder = fake_spice(version)

    found = spice([["a"], ["b", ""], ["c"]], ["one", "one two three", "one é"])

    assert found.tolist() == [0.1, 0.3, 0.2]
    arguments = read_json(folder / "arguments.json")
    assert ("-out" in arguments) == (version in ("1.8.0_292", "11.0.2"))
    heap = next(argument for argument in arguments if argument.startswith("-Xmx"))
    assert int(heap.removeprefix("-Xmx")) <= memory_bytes() // 2


def test_running_spice_captions_without_words_score_zero_and_stay_here(fake_spice):
    folder = fake_spice()

    found = spice([["a", ""], ["b"], [""], ["c"]], ["one", "", "one", "one two"])

    assert found.tolist() == [0.1, 0.0, 0.0, 0.2]
    rows = read_json(folder / "rows.json")
    assert rows == [
        {"image_id": 0, "test": "one", "refs": ["a"]},
        {"image_id": 3, "test": "one two", "refs": ["c"]},
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("sys.exit()", "SPICE wrote no scores that can be read .FileNotFoundError"),
        ("target.write_text('['); sys.exit()", "SPICE wrote no scores that can be read .JSONDecodeError"),
        ("results = [{}]", "SPICE wrote no scores that can be read .KeyError: 'image_id'"),
        ("results.pop()", "SPICE gave 1 scores for 2 examples"),
        ("results[0]['image_id'] = 7", "SPICE gave 2 scores for 2 examples, or some"),
        ("results[0]['scores']['All']['f'] = float('nan')", "or some that are no numbers"),
        ("results[0]['scores']['All']['f'] = None", "SPICE wrote no scores that can be read .TypeError"),
        ("print('garbage'); sys.exit('Could not score')", "exit code 1: Could not score"),
        ("sys.exit('Module jdk.compiler not in boot Layer')", "needs a Java development kit.*default-jdk-headless"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_running_spice_failing_java_is_a_reason_and_leaves_no_file(fake_spice, temporary_folder, change, reason):
    fake_spice(change=change)

    with pytest.raises(MetricUnavailable, match=reason):
        spice([["a"], ["b"]], ["a", "b"])

    assert list(temporary_folder.iterdir()) == []


def test_running_spice_leaves_no_file_anywhere(fake_spice, temporary_folder, spice_folder):
    fake_spice("17.0.15")
    before = sorted(spice_folder.rglob("*"))

    spice([["a"]], ["a"])

    assert list(temporary_folder.iterdir()) == []
    assert sorted(spice_folder.rglob("*")) == before


def test_running_spice_that_hangs_is_ended(hanging_java, all_ended, spice_folder, temporary_folder, monkeypatch):
    monkeypatch.setattr(java_metrics, "java_version", lambda: "17")

    with running_spice([["a"]], ["a"], time_limit=1) as wait:
        process_ids = hanging_java()
        with pytest.raises(MetricUnavailable, match="time limit of 1 s"):
            wait()

    assert all_ended(process_ids)
    assert list(temporary_folder.iterdir()) == []


def test_running_spice_java_without_a_version_is_a_reason(fake_java, spice_folder):
    fake_java("print('I am no Java')")

    with pytest.raises(MetricUnavailable, match="`java -version` names no version"):
        spice([["a"]], ["a"])


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        ((), r"needs stanford-corenlp-3.6.0.jar and stanford-corenlp-3.6.0-models.jar in .*lib; run `.*python\S* -m "),
        (
            ("stanford-corenlp-3.6.0.jar",),
            r"needs stanford-corenlp-3.6.0-models.jar in .*; run `rm .*3.6.0.jar'?` and `",
        ),
    ],
)
def test_running_spice_missing_models_say_how_to_install_them(fake_java, spice_folder, present, reason):
    fake_java("raise AssertionError")
    for path in (spice_folder / "lib").iterdir():
        if path.name not in present:
            path.unlink()

    with pytest.raises(MetricUnavailable, match=reason):
        spice([["a"]], ["a"])


def test_running_spice_no_java_says_what_to_install(fake_java, spice_folder):
    fake_java(None)

    with pytest.raises(MetricUnavailable, match="no Java on PATH"):
        spice([["a"]], ["a"])


@pytest.fixture
def stand_in_spice(tmp_path, monkeypatch):
    """SPICE's own jars with a parser that needs no models."""
    if shutil.which("javac") is None:
        pytest.skip("no javac on PATH; it compiles the parser that stands in for Stanford's")
    official = java_metrics._folder("spice")
    folder = tmp_path / "pycocoevalcap" / "spice"
    shutil.copytree(official / "lib", folder / "lib", copy_function=os.symlink)
    # An older release brings the classes, but not the models, that SPICE takes from Stanford's library.
    library = official.parent / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    for name in java_metrics._SPICE_JARS:
        if not (folder / "lib" / name).exists():
            (folder / "lib" / name).symlink_to(library)
    source = tmp_path / "SpiceParser.java"
    source.write_text(STAND_IN_PARSER)
    path = f"{official / 'spice-1.0.jar'}:{library}:{official / 'lib' / 'Meteor-1.5.jar'}"
    subprocess.run(["javac", "-cp", path, "-d", str(tmp_path), str(source)], check=True, capture_output=True)
    replaced = "edu/anu/spice/SpiceParser.class"
    with zipfile.ZipFile(official / "spice-1.0.jar") as old, zipfile.ZipFile(folder / "spice-1.0.jar", "w") as new:
        for name in old.namelist():
            if name.startswith(("edu/anu/spice/", "META-INF/MANIFEST")) and name.endswith((".class", ".MF")):
                new.writestr(name, (tmp_path / name).read_bytes() if name == replaced else old.read(name))
    monkeypatch.setattr(java_metrics, "_folder", lambda metric: folder.parent / metric)


@pytest.mark.java
def test_running_spice_own_program_scores_and_leaves_no_file(stand_in_spice, temporary_folder):
    references = [["automobile tree", "horse dog"], ["café"], ["", "dog"], ["cat"]]

    found = spice(references, ["car horse", "cat", "dog", ""])

    # The first: a car is an automobile, so that 2 of 2 words are right, of 4 to be named: precision 1, recall 1/2.
    assert found == pytest.approx([2 * 1 * 0.5 / 1.5, 0, 1, 0], abs=1e-15)
    assert [path for path in temporary_folder.iterdir() if path.name.startswith("stylecap")] == []
