"""The pages of what is watched, in parts that can be fetched one by one when they have changed."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from reports.templating import open_templates
from runs.state import STATES
from serving.watch.run import RunView, WatchedRun
from serving.watch.sweep import Overview, Watched
from utils.io import encode_json

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "reports" / "templates"
RUN_PARTS = ("standing", "alarms", "curves", "samples")
OVERVIEW_PARTS = ("overview", "entries")
SHOWN_AT_ONCE = 3
"""Validations whose captions are in sight; the others unfold."""
HUES = 10
"""Colours of style tags in the style sheet."""
WAITING = "not begun yet"


class Pages:
    """Makes HTML of runs; parts are made once for as long as the run has not changed.

    Args:
        watched: The runs.
    """

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self._templates = open_templates(HERE / "templates", SHARED)
        self._templates.filters |= {"clock": clock, "span": span}
        self._made: dict[str, tuple[RunView, dict[str, str]]] = {}
        self._lock = threading.Lock()

    def page(self, key: str) -> str | None:
        """The whole page of a run, or of the overview for ""; None if there is no such run."""
        parts = self.parts(key)
        if parts is None:
            return None
        title, state = self._headline(key)
        only = self.watched.only is not None
        return self._templates.get_template("page.html.j2").render(
            title=title,
            state=state,
            key=key,
            parts=parts,
            versions=_versions(parts),
            has_overview=not only and key != "",
        )

    def live(self, key: str) -> bytes | None:
        """What a page polls: title, state, and of each part a text that changes with it, as JSON."""
        parts = self.parts(key)
        if parts is None:
            return None
        title, state = self._headline(key)
        return encode_json({"title": title, "state": state, "parts": _versions(parts)})

    def parts(self, key: str) -> Mapping[str, str] | None:
        """The parts of a page by name; None if there is no such run."""
        run = self.run_of(key)
        if run is not None:
            return self._run_parts(run)
        if key:
            return None
        overview = self.watched.overview()
        names = {"overview": overview, "states": STATES | {"waiting": WAITING}, "counts": _counts(overview)}
        return {part: self._render(part, names) for part in OVERVIEW_PARTS}

    def style_sheet(self) -> str:
        """Colours and shapes of all pages: those of a run's report, and more."""
        return self._render_file("watch.css.j2", {"hues": HUES})

    def run_of(self, key: str) -> WatchedRun | None:
        """The run of a key; for "" the one that is watched alone."""
        return self.watched.find(key) if key else self.watched.only

    def _headline(self, key: str) -> tuple[str, str]:
        run = self.run_of(key)
        if run is None:
            overview = self.watched.overview()
            return overview.title, ", ".join(f"{count} {state}" for state, count in _counts(overview).items())
        view = run.look()
        return run.run.root.resolve().name, view.state.state

    def _run_parts(self, run: WatchedRun) -> dict[str, str]:
        view = run.look()
        with self._lock:
            made = self._made.get(run.key)
            if made is None or made[0] is not view:
                styles = list(dict.fromkeys(sample.style for sample in view.samples))
                names = {
                    "view": view,
                    "states": STATES,
                    "hues": {style: number % HUES for number, style in enumerate(styles)},
                    "at_once": SHOWN_AT_ONCE,
                }
                made = view, {part: self._render(part, names) for part in RUN_PARTS}
                self._made[run.key] = made
            return made[1]

    def _render(self, part: str, names: Mapping[str, Any]) -> str:
        return self._render_file(f"{part}.html.j2", names)

    def _render_file(self, file: str, names: Mapping[str, Any]) -> str:
        return self._templates.get_template(file).render(**names)


def _versions(parts: Mapping[str, str]) -> dict[str, str]:
    return {name: hashlib.sha256(html.encode()).hexdigest()[:16] for name, html in parts.items()}


def _counts(overview: Overview) -> Counter[str]:
    return Counter(entry.state for entry in overview.entries)


def span(seconds: float) -> str:
    """A length of time in words: 42 s, 3 min 20 s, 23 min, 2 h 05 min; watch.js says it alike."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes < 10 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def clock(seconds: float) -> str:
    """A moment in the time of this machine: ISO 8601 to the second."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
