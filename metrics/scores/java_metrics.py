"""SPICE and, for whoever asks for it, METEOR: pycocoevalcap's Java programs, run beside whatever else is computed."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from metrics.scores.java import INSTALL_JAVA, JavaProcess, find_java, java_version, memory_bytes
from metrics.scores.measurement import Measurement, MetricUnavailable
from metrics.scores.meteor import METEOR_STATISTICS, meteor_from_statistics, without_whole

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_METEOR_HEAP = 2**31
_EXAMPLES_PER_PROCESS = 1000  # METEOR scores these in a third of the time that it needs to start.

_SPICE_HEAP = 2**33
_SPICE_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")

# SPICE's own program writes its file with the JavaScript engine that Java 15 removed.
_SPICE_PROGRAM = """
import edu.anu.spice.*;
import java.nio.file.*;

public class SpiceScores {
    public static void main(String[] paths) throws Exception {
        SpiceScorer scorer = (SpiceScorer) create(SpiceScorer.class, new Class<?>[0]);
        Object options = new String[] {paths[0], "-silent"};
        scorer.scoreBatch((SpiceArguments) create(SpiceArguments.class, new Class<?>[] {String[].class}, options));
        Files.writeString(Path.of(paths[1]), scorer.stats.toJSONString());
    }

    private static Object create(Class<?> type, Class<?>[] parameters, Object... values) throws Exception {
        java.lang.reflect.Constructor<?> constructor = type.getDeclaredConstructor(parameters);
        constructor.setAccessible(true);
        return constructor.newInstance(values);
    }
}
"""
_LAST_JAVA_WITH_JAVASCRIPT = 14


@contextmanager
def running_meteor(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str], *, time_limit: float | None = None
) -> Iterator[Callable[[], IntArray]]:
    """Let METEOR 1.5 align every hypothesis with its references, in several processes, while the block runs.

    Args:
        references: Tokenised human captions of each example, at least one each.
        hypotheses: One tokenised caption per example; may be empty.
        time_limit: Seconds until Java is ended; None = 300 and a tenth of a second for each example.

    Yields:
        A function that waits for the statistics. Shape (N, 23). Their sum is that of the corpus: a hypothesis whose
        words all match in one chunk has 0 chunks here, as METEOR leaves it out of its sum of them.

    Raises:
        MetricUnavailable: If there is no Java; from the function, if Java fails or takes too long. No process is left
            behind, whatever ends the block.

    Source:
        Denkowski and Lavie 2014, https://aclanthology.org/W14-3348.
    """
    limit = 300 + 0.1 * len(hypotheses) if time_limit is None else time_limit
    lines = [_meteor_line(texts, text) for texts, text in zip(references, hypotheses, strict=True)]
    count = min(_cores(), math.ceil(len(lines) / _EXAMPLES_PER_PROCESS), max(1, memory_bytes() // _METEOR_HEAP))
    borders = [len(lines) * part // count for part in range(count + 1)]
    parts = [lines[start:end] for start, end in zip(borders, borders[1:], strict=False)]
    # One thread collects garbage: half the memory of Java's choice, and the other cores have processes of their own.
    arguments = [f"-Xmx{_METEOR_HEAP}", "-XX:+UseSerialGC", "-jar", str(_folder("meteor") / "meteor-1.5.jar")]
    # By itself METEOR does not find its paraphrases where a folder's name has a space.
    paraphrases = str(_folder("meteor") / "data" / "paraphrase-en.gz")
    arguments += ["-", "-", "-stdio", "-l", "en", "-norm", "-a", paraphrases]
    with ExitStack() as running:
        started = [
            running.enter_context(JavaProcess(arguments, time_limit=limit, text="".join(part))) for part in parts
        ]
        yield lambda: np.concatenate(
            [_read_statistics(java.wait()[0], len(part)) for java, part in zip(started, parts, strict=True)]
        )


@contextmanager
def running_spice(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str], *, time_limit: float | None = None
) -> Iterator[Callable[[], FloatArray]]:
    """Let SPICE 1.0 score every hypothesis while the block runs.

    Args:
        references: Tokenised human captions of each example, at least one each.
        hypotheses: One tokenised caption per example; an empty one scores 0.
        time_limit: Seconds until Java is ended; None = 300 and a tenth of a second for each caption.

    Yields:
        A function that waits for the scores, in [0, 1]. Shape (N,).

    Raises:
        MetricUnavailable: If there is no Java or the models are missing; from the function, if Java fails or takes
            too long. No process and no file is left behind, whatever ends the block.

    Source:
        Anderson et al. 2016, arXiv:1607.08822.
    """
    find_java()
    _check_models()
    captions = len(hypotheses) + sum(map(len, references))
    # Its parser need not see captions without a word: they have no objects, relations or attributes.
    examples = {
        row: {"image_id": row, "test": text, "refs": [reference for reference in texts if reference]}
        for row, (texts, text) in enumerate(zip(references, hypotheses, strict=True))
        if text and any(texts)
    }
    with TemporaryDirectory(prefix="stylecap-spice-") as name:
        source, target = Path(name) / "captions.json", Path(name) / "scores.json"
        # As ASCII, since the program reads its file in whatever encoding Java prefers.
        source.write_text(json.dumps(list(examples.values())))
        limit = 300 + 0.1 * captions if time_limit is None else time_limit
        with JavaProcess(_spice_arguments(source, target), time_limit=limit) as java:

            def scores() -> FloatArray:
                _wait_for_spice(java)
                found = _read_spice(target, examples)
                return np.array([found.get(row, 0.0) for row in range(len(hypotheses))])

            yield scores


def _meteor_line(texts: Sequence[str], hypothesis: str) -> str:
    """One line of METEOR's protocol, whatever is in the captions."""
    captions = [re.sub(r"[\r\n]", " ", text.replace("|||", "")) for text in (*texts, hypothesis)]
    return " ||| ".join(["SCORE", *captions]) + "\n"


def _read_statistics(output: str, examples: int) -> IntArray:
    lines = output.splitlines()
    try:
        statistics = np.array([[int(float(number)) for number in line.split()] for line in lines], dtype=np.int64)
    except (ValueError, OverflowError):
        statistics = np.empty(0, dtype=np.int64)
    if statistics.shape != (examples, METEOR_STATISTICS):
        raise MetricUnavailable(
            f"METEOR gave {len(lines)} lines for {examples} examples, or not {METEOR_STATISTICS} numbers in each;"
            f" the last one is {[line[:200] for line in lines[-1:]]}"
        )
    return without_whole(statistics)


def _check_models() -> None:
    library = _folder("spice") / "lib"
    missing = [name for name in _SPICE_JARS if not (library / name).is_file()]
    if missing:
        # With the first one in place it downloads nothing.
        first = f"`rm {shlex.quote(str(library / _SPICE_JARS[0]))}` and " if _SPICE_JARS[0] not in missing else ""
        raise MetricUnavailable(
            f"SPICE needs {' and '.join(missing)} in {library}; run {first}"
            f"`{shlex.quote(sys.executable)} -m pycocoevalcap.spice.get_stanford_models` once (downloads 0.5 GB)"
        )


def _spice_arguments(source: Path, target: Path) -> list[str]:
    jar = str(_folder("spice") / "spice-1.0.jar")
    heap = f"-Xmx{min(_SPICE_HEAP, memory_bytes() // 2)}"
    found = re.match(r"(?:1\.)?(\d+)", java_version() or "")
    if found is None:
        raise MetricUnavailable(f"`java -version` names no version; {INSTALL_JAVA}")
    # Neither has -cache, which stores Java objects in a way that newer versions of Java forbid.
    if int(found[1]) <= _LAST_JAVA_WITH_JAVASCRIPT:
        return [heap, "-jar", jar, str(source), "-out", str(target), "-silent"]
    program = source.with_name("SpiceScores.java")
    program.write_text(_SPICE_PROGRAM)
    return [heap, "-cp", jar, str(program), str(source), str(target)]


def _wait_for_spice(java: JavaProcess) -> None:
    try:
        java.wait()
    except MetricUnavailable as error:
        if "jdk.compiler" not in str(error):
            raise
        raise MetricUnavailable(
            "from Java 15 on SPICE needs a Java development kit, not only a runtime: install one,"
            " e.g. `apt install default-jdk-headless`"
        ) from error


def _read_spice(path: Path, rows: Collection[int]) -> dict[int, float]:
    try:
        scores = {result["image_id"]: float(result["scores"]["All"]["f"]) for result in json.loads(path.read_text())}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetricUnavailable(f"SPICE wrote no scores that can be read ({type(error).__name__}: {error})") from error
    if scores.keys() != set(rows) or not all(map(math.isfinite, scores.values())):
        raise MetricUnavailable(
            f"SPICE gave {len(scores)} scores for {len(rows)} examples, or some that are no numbers"
        )
    return scores


def _folder(metric: str) -> Path:
    """Where pycocoevalcap keeps the program and data of one metric."""
    package = find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise MetricUnavailable("pycocoevalcap is not installed; run `pip install pycocoevalcap==1.2`")
    return Path(package.submodule_search_locations[0]) / metric


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


METEOR = Measurement(
    "METEOR",
    ("METEOR",),
    running_meteor,
    num_statistics=METEOR_STATISTICS,
    from_statistics=lambda totals: meteor_from_statistics(totals)[..., np.newaxis],
    runs_beside=True,
)
SPICE = Measurement("SPICE", ("SPICE",), running_spice, runs_beside=True)
