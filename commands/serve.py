"""Serve models: REST, and a page in the browser."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from commands.console import add_lm_options, lm_weights, start_console
from utils import exit_codes

INTERRUPTED = ""
INTERRUPTED_CODE = exit_codes.INTERRUPTED
NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--model", required=True, nargs="+", metavar="FOLDER", help="model folders; the first answers")
    parser.add_argument("--kind", metavar="NAME", help="package.module:Class of captioners of your own")
    parser.add_argument(
        "--text-model", type=Path, metavar="FOLDER", help="language model that completes texts without a picture"
    )
    add_lm_options(parser, "every request that does not name other weights")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (8000); 0 is any free one")
    parser.add_argument("--device", help="such as cpu or cuda:1; a GPU where there is one, if not given")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="clients must give the token in it; or set STYLECAP_TOKEN"
    )
    limits = parser.add_argument_group("limits")
    for name, kind, default, what in (
        ("max-upload-mb", float, 20, "of a request, MB"),
        ("max-pixels", int, 50_000_000, "of a picture, width times height"),
        ("max-styles", int, 32, "of a request"),
        ("max-length-limit", int, 64, "tokens of a caption that a request may ask for"),
        ("max-batch", int, 16, "pictures with a style that are worked on at once"),
        ("max-wait-ms", float, 5, "that one waits for others"),
        ("queue", int, 64, "pictures with a style that wait; more are answered 429"),
        ("timeout", float, 30, "seconds of a request"),
    ):
        limits.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{what} ({default})")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ValueError(f"serve needs {', '.join(missing)}: bash scripts/setup.sh --serve")
    weights = lm_weights(options)
    start_console()
    from serving.limits import Limits
    from serving.server import LOOPBACK, Beside, bind, log_accesses, open_service, read_token, serve

    limits = Limits(
        max_upload_mb=options.max_upload_mb,
        max_pixels=options.max_pixels,
        max_styles=options.max_styles,
        max_length=options.max_length_limit,
        max_batch=options.max_batch,
        max_wait_ms=options.max_wait_ms,
        queue=options.queue,
        timeout=options.timeout,
    )
    beside = None if options.lm is None else Beside(options.lm, **weights)
    token = read_token(options.token_file)
    with bind(options.host, options.port) as bound:
        hosts = LOOPBACK if token is None and options.host in LOOPBACK else ()
        app = open_service(
            options.model, limits, token, options.device, hosts, options.text_model, beside, kind=options.kind
        )
        log_accesses()
        serve(app, [bound], limits)
    return exit_codes.FINISHED
