"""The pages of what is watched, in parts that can be fetched one by one when they have changed."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

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


class Shown(NamedTuple):
    """What a page is made of."""

    title: str
    state: str
    parts: Mapping[str, str]


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
        shown = self._show(key)
        if shown is None:
            return None
        only = self.watched.only is not None
        return self._templates.get_template("page.html.j2").render(
            title=shown.title,
            state=shown.state,
            key=key,
            parts=shown.parts,
            versions=_versions(shown.parts),
            has_overview=not only and key != "",
        )

    def live(self, key: str) -> bytes | None:
        """What a page polls: title, state, and of each part a text that changes with it, as JSON."""
        shown = self._show(key)
        if shown is None:
            return None
        return encode_json({"title": shown.title, "state": shown.state, "parts": _versions(shown.parts)})

    def parts(self, key: str) -> Mapping[str, str] | None:
        """The parts of a page by name; None if there is no such run."""
        shown = self._show(key)
        return None if shown is None else shown.parts

    def style_sheet(self) -> str:
        """Colours and shapes of all pages: those of a run's report, and more."""
        return self._render_file("watch.css.j2", {"hues": HUES})

    def run_of(self, key: str) -> WatchedRun | None:
        """The run of a key; for "" the one that is watched alone."""
        return self.watched.find(key) if key else self.watched.only

    def _show(self, key: str) -> Shown | None:
        """Looks at the folders once: a page that polls makes the machine that trains pay for each look."""
        run = self.run_of(key)
        if run is not None:
            view = run.look()
            return Shown(run.run.root.resolve().name, view.state.state, self._run_parts(run, view))
        if key:
            return None
        overview = self.watched.overview()
        counts = _counts(overview)
        names = {"overview": overview, "states": STATES | {"waiting": WAITING}, "counts": counts}
        parts = {part: self._render(part, names) for part in OVERVIEW_PARTS}
        return Shown(overview.title, ", ".join(f"{count} {state}" for state, count in counts.items()), parts)

    def _run_parts(self, run: WatchedRun, view: RunView) -> dict[str, str]:
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
