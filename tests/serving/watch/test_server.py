"""The server of watched runs, asked as a browser asks."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from runs.folder import Run
from runs.lock import locked
from runs.metrics_log import append_metrics
from serving.watch import run as watched_run
from serving.watch.pages import Pages, span
from serving.watch.server import WatchServer
from serving.watch.sweep import Watched
from utils.io import append_jsonl, write_json


class Answer(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]
    data: bytes


Ask = Callable[..., Answer]


@pytest.fixture
def serve() -> Iterator[Callable[..., Ask]]:
    """Serves folders until the test is over; returns what asks the server for a path."""
    servers: list[WatchServer] = []

    def start(*folders: Path) -> Ask:
        server = WatchServer(Pages(Watched(folders)), 0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

        def ask(path: str = "/", method: str = "GET", **headers: str) -> Answer:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=120)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            response = connection.getresponse()
            data = response.read()
            connection.close()
            return Answer(response.status, data.decode(errors="replace"), dict(response.getheaders()), data)

        return ask

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def sample(run: Run, step: int, caption: str, image: Path | None = None) -> None:
    row = {"global_step": step, "example_id": "a.png#pirate", "style": "pirate", "caption": caption}
    append_jsonl(run.samples, row | {"references": ["ahoy <b>you</b>"]} | ({"image": str(image)} if image else {}))


def content_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_page_of_a_run_shows_how_it_stands_and_changes_nothing_in_its_folder(make_run, serve):
    run = make_run(step=8, trained=False, evaluated=False)
    run.log.write_text("2026-01-02 03:04:06,678 rank 0 WARNING trainers.numbers: a <spike>\n")
    sample(run, 8, "arr <script>alert(1)</script>")
    before = content_of(run.root)
    ask = serve(run.root)
    page = ask().text
    assert "8<small> of 12</small>" in page
    assert "Loss against optimizer steps" in page
    assert "a &lt;spike&gt;" in page
    assert "arr &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "ahoy &lt;b&gt;you&lt;/b&gt;" in page
    assert "stopped" in page
    assert content_of(run.root) == before


def test_live_names_the_parts_that_changed_and_is_not_sent_twice(make_run, serve):
    run = make_run(step=4, trained=False, evaluated=False)
    ask = serve(run.root)
    first = ask("/live/")
    tag = first.headers["ETag"]
    assert ask("/live/", If_None_Match=tag)[:2] == (304, "")
    append_metrics(run.metrics, 5, 1.25, {"train/loss": 1.0, "train/lr": 0.5})
    second = ask("/live/", If_None_Match=tag)
    assert second.status == 200
    before, after = (json.loads(answer.text)["parts"] for answer in (first, second))
    assert {name for name in before if before[name] != after[name]} == {"standing", "curves"}
    assert "5<small> of 12</small>" in ask("/part/standing/").text
    assert len(first.text) < 400


def test_a_row_that_is_being_written_is_passed_over(make_run, serve):
    run = make_run(step=8, trained=False, evaluated=False)
    ask = serve(run.root)
    with locked(run):  # the page takes no part in it: training holds the lock and writes
        with run.metrics.open("ab") as file:
            file.write(b'{"global_step": 9, "epo')
        live = json.loads(ask("/live/").text)
        assert live["state"] == "running"
        assert "is damaged" not in ask().text
    assert json.loads(ask("/live/").text)["state"] == "damaged"


def test_pictures_are_shown_by_their_key_and_none_by_a_path(make_run, serve, tmp_path):
    image = tmp_path / "a.png"
    Image.new("RGB", (700, 350), "red").save(image)
    run = make_run(step=8, trained=False, evaluated=False)
    sample(run, 8, "arr", image)
    ask = serve(run.root)
    place = ask().text.partition('<img src="')[2].partition('"')[0]
    shown = ask(place)
    assert (shown.status, shown.headers["Content-Type"], shown.data[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")
    key = place.split("/")[2]
    for other in (str(image), f"/picture/{key}/..%2Fa.png", f"/picture/{key}/{image}", f"/picture/{key}/" + 20 * "0"):
        assert ask(other).status == 404
    image.unlink()
    fresh = serve(run.root)
    assert fresh(place).status == 404
    assert "arr" in fresh().text


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/watch.css.j2", "/run/none", "/part/curves", "/live", "/x"]
)
def test_what_is_not_there_is_not_found(make_run, serve, path):
    assert serve(make_run().root)(path).status == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:9000", 200),
        ("127.0.0.1:80", 200),
        ("evil.example", 421),
        ("evil.example:8001", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost:x", 421),
    ],
)
def test_host_of_another_name_is_refused(make_run, serve, host, status):
    """A page from elsewhere whose name was made to lead to this machine."""
    answer = serve(make_run().root)("/live/", Host=host)
    assert answer.status == status
    assert ("parts" in answer.text) == (status == 200)


def test_answers_forbid_what_a_page_need_not_do(make_run, serve):
    ask = serve(make_run().root)
    for path in ("/", "/live/", "/static/watch.css", "/static/watch.js", "/nothing"):
        headers = ask(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
    assert " style=" not in ask().text
    assert ask("/", "POST").status == 501
    assert ask("/", "HEAD")[:2] == (200, "")


def test_sweep_shows_its_trials_their_states_and_the_best_so_far(make_run, serve, tmp_path):
    sweep = tmp_path / "sweep"
    names = ["001-seed7", "002-seed7", "003-seed7", "004-seed7"]
    trials = [{"name": name, "settings": {"train.lr": number}} for number, name in enumerate(names)]
    write_json(sweep / "sweep.json", {"sweep": {"metric": "overall.CIDEr"}, "split": "val", "trials": trials})
    make_run(f"sweep/trials/{names[0]}", step=8, trained=False, evaluated=False)
    make_run(f"sweep/trials/{names[1]}", step=4, trained=False, evaluated=False)
    write_json(sweep / "logs" / f"{names[2]}.failed.json", {"message": "exit code 77"})
    ask = serve(sweep)
    page = ask().text
    assert json.loads(ask("/live/").text)["state"] == "2 stopped, 1 failed, 1 waiting"
    assert "exit code 77" in page
    assert "train.lr 1" in page
    # The loss is 1 at step 8 and 5 at step 4.
    assert "val loss of <a" in page
    assert names[0] in page.partition('<tr class="best">')[2].partition("</tr>")[0]
    make_run(f"sweep/trials/{names[1]}")
    page = ask().text
    best = page.partition("Best so far")[2].partition("</div>\n  </div>")[0]
    assert names[1] in best
    assert "0.4000" in best
    link = best.partition('href="')[2].partition('"')[0]
    assert names[1] in ask(link).text


def test_several_runs_have_a_page_each(make_run, serve):
    ask = serve(make_run("a").root, make_run("b", step=4, trained=False, evaluated=False).root)
    page = ask().text
    links: Any = [part.partition('"')[0] for part in page.split('href="/run/')[1:]]
    assert len(set(links)) == 2
    assert "<h1>a</h1>" in ask(f"/run/{links[0]}").text
    assert json.loads(ask("/live/").text)["state"] == "1 finished, 1 stopped"


def test_overview_is_looked_at_once_for_each_answer(make_run, serve, tmp_path, monkeypatch):
    looks, look = [], Watched.overview
    run = make_run().root
    ask = serve(run, run)
    monkeypatch.setattr(Watched, "overview", lambda watched: looks.append(watched) or look(watched))
    assert ask("/live/").status == 200
    assert len(looks) == 1


def test_captions_are_read_again_only_when_their_file_has_changed(make_run, serve, monkeypatch):
    run, reads, read = make_run(step=8, trained=False, evaluated=False), [], watched_run.read_samples
    monkeypatch.setattr(watched_run, "read_samples", lambda file: reads.append(file) or read(file))
    sample(run, 8, "arr")
    ask = serve(run.root)
    assert "arr" in ask().text
    append_metrics(run.metrics, 9, 2.25, {"train/loss": 1.0})
    assert "9<small> of 12</small>" in ask().text
    assert len(reads) == 1
    sample(run, 9, "ahoy there")
    assert "ahoy there" in ask().text
    assert len(reads) == 2


def test_fault_of_a_page_is_not_taken_for_one_that_is_not_there(make_run, serve, monkeypatch, caplog):
    ask = serve(make_run().root)
    monkeypatch.setattr(Pages, "page", lambda pages, key: len(None))
    assert ask().status == 500
    assert "NoneType" in caplog.text


def test_watched_refuses_a_folder_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run and no sweep"):
        Watched([tmp_path])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Watched([tmp_path / "none"])


def test_server_port_in_use_says_so(make_run, serve):
    pages = Pages(Watched([make_run().root]))
    with WatchServer(pages, 0) as server, pytest.raises(ValueError, match="give another, or 0 for a free one"):
        WatchServer(pages, server.server_address[1])


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (1439, "23 min"), (7500, "2 h 05 min")],
)
def test_span_says_a_time_as_people_do(seconds, said):
    assert span(seconds) == said
