"""Encoding in several processes: they take turns, so that the files are the same for any number of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from preprocessors.documents.byte_pairs import BytePairTokenizer
from preprocessors.documents.piece_cache import PackedEncoder
from preprocessors.documents.reading import Batch, DocumentSource, batches_of
from preprocessors.documents.writing import Writer
from utils.errors import Fault

WORTH_ANOTHER = 16_000_000
"""Bytes of documents for which one more process is started, which takes half a second."""
MOST_PROCESSES = 16
"""One process reads for them all."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encode(
    source: DocumentSource, tokenizer: BytePairTokenizer, writer: Writer, processes: int | None = None
) -> Iterator[int]:
    """Write the documents of a source; gives the bytes of the source that are done, again and again.

    Args:
        source: Of documents.
        tokenizer: That of the writer's codes.
        writer: Where they go, and from which place on.
        processes: That encode; None takes as many as cores, fewer for few documents.

    Raises:
        BadDocument: If a document cannot be used, and such documents are errors.
        Fault: If a process was ended, as the system does where memory runs out.
    """
    left = source.num_bytes - writer.counts.source_bytes
    number = min(cores(), MOST_PROCESSES, left // WORTH_ANOTHER) if processes is None else processes
    if number <= 1:
        return _encode_here(source, tokenizer, writer)
    return _encode_in(number, source, tokenizer, writer)


def _encode_here(source: DocumentSource, tokenizer: BytePairTokenizer, writer: Writer) -> Iterator[int]:
    encoder = PackedEncoder(tokenizer, writer.dtype)
    for batch in batches_of(source, writer.counts.position):
        writer.write(batch, encoder.encode([document.body for document in batch.documents]))
        yield batch.size


def _encode_in(number: int, source: DocumentSource, tokenizer: BytePairTokenizer, writer: Writer) -> Iterator[int]:
    with ExitStack() as stack:
        idle = deque(_start(stack, tokenizer, writer.dtype) for _ in range(number))
        busy: deque[tuple[Connection, Batch]] = deque()
        for batch in batches_of(source, writer.counts.position):
            if not idle:
                yield _take(busy, idle, writer)
            connection = idle.popleft()
            with _told_if_gone():
                connection.send([document.body for document in batch.documents])
            busy.append((connection, batch))
        while busy:
            yield _take(busy, idle, writer)


def _take(busy: deque[tuple[Connection, Batch]], idle: deque[Connection], writer: Writer) -> int:
    """Write what has been at work the longest."""
    connection, batch = busy.popleft()
    with _told_if_gone():
        bodies = connection.recv()
    writer.write(batch, bodies)
    idle.append(connection)
    return batch.size


@contextmanager
def _told_if_gone() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise Fault("a process that encoded documents was ended; if memory ran out, give it fewer cores") from error


def _start(stack: ExitStack, tokenizer: BytePairTokenizer, dtype: str) -> Connection:
    """A process that encodes what it is sent, until the stack is closed or this process is gone."""
    context = multiprocessing.get_context("spawn")  # a fork would share the library's threads
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, tokenizer, dtype), daemon=True)
    process.start()
    there.close()
    stack.callback(_end, process)
    stack.enter_context(here)
    return here


def _end(process: BaseProcess) -> None:
    process.terminate()
    process.join()


def _serve(connection: Connection, tokenizer: BytePairTokenizer, dtype: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    encoder = PackedEncoder(tokenizer, dtype)
    while True:
        try:
            bodies = connection.recv()
        except EOFError:
            return
        connection.send(encoder.encode(bodies))
