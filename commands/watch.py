"""Watch runs, or a sweep, in the browser.

    finetune.py watch RUN [RUN ...] [--port 8001]

Reads what stands in the folders and changes nothing there. The page is served on this machine alone; for a machine
elsewhere, `ssh -L 8001:127.0.0.1:8001 HOST` brings it here. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils import exit_codes

INTERRUPTED = ""
INTERRUPTED_CODE = exit_codes.INTERRUPTED
DEFAULT_PORT = 8001


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.description = __doc__
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="run folders, a sweep's folder, or one that holds runs"
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help=f"where the page is; {DEFAULT_PORT} if not given, 0 a free one"
    )


def run(options: argparse.Namespace) -> int:
    """Serve the page until somebody ends it; print where it is."""
    from pipeline.processes import rank
    from serving.watch.pages import Pages
    from serving.watch.server import WatchServer
    from serving.watch.sweep import Watched
    from utils.logging import setup_logging

    setup_logging(None, rank())
    with WatchServer(Pages(Watched(options.folders)), options.port) as server:
        print(f"watch: {server.url} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
    return exit_codes.FINISHED


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text}: must be a port from 1 to 65535, or 0 for a free one")
    return int(text)
