"""Count in how many images' captions each n-gram occurs, for the CIDEr-D reward; every caption ends with EOS.

    python -m metrics.cider build-df --references train.json --out df.npz
    python -m metrics.cider build-df --references train.json more.json --out df.npz

References are COCO annotations, a data set as published (docs/data.md), of which the training split counts, a list of
rows {"image_id", "caption"}, or a map {id: [captions]}. Every example of every file is one document. The last line on
standard output says what was counted, one JSON object.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metrics.command_line import run_command, show_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0, 2 for a fault of the input, told in one line on standard error, 130 if interrupted.
    """
    options = make_parser().parse_args(arguments)
    return run_command(lambda: build_document_frequency(options.references, options.out))


def make_parser() -> argparse.ArgumentParser:
    """The command and its options."""
    parser = argparse.ArgumentParser(prog="python -m metrics.cider", description="Tools for CIDEr.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build-df",
        help="count the n-grams of captions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    build.add_argument("--references", required=True, nargs="+", type=Path, metavar="R.json", help="human captions")
    build.add_argument("--out", required=True, type=Path, metavar="DF.npz", help="the file to write")
    return parser


def build_document_frequency(references: Sequence[Path], out: Path) -> dict[str, Any]:
    """Read captions, tokenise and count them, write the counts.

    Args:
        references: Files of human captions.
        out: The ``.npz`` file to write.

    Returns:
        ``out``, ``ngrams``, ``documents``, ``tokenizer``, ``eos`` and ``references``.

    Raises:
        ValueError: If a file cannot be used, an example's captions are all without a word, or ``out`` is nothing to
            use. Nothing is written then.
        OSError: If a file cannot be read or written.
    """
    from metrics.caption_files import count_and_list, read_references
    from metrics.command_line import check_writable
    from metrics.scores.document_frequency import EOS, DocumentFrequency
    from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many

    if out.suffix != ".npz":
        raise ValueError(f"--out {out}: must end in .npz, which tells these counts from pickled ones.")
    examples = [item for path in references for item in read_references(path).of_training.items()]
    words = iter(tokenize_many(text for _, captions in examples for text in captions))
    documents = [[next(words) for _ in captions] for _, captions in examples]
    wordless = [key for (key, _), texts in zip(examples, documents, strict=True) if not any(texts)]
    if wordless:
        raise ValueError(f"--references: {count_and_list(wordless)} without a word in any caption; leave them out.")
    counted = DocumentFrequency.from_references(documents, tokenizer=TOKENIZER_NAME, eos=EOS)
    check_writable(out, references)
    counted.save(out)
    return {
        "out": show_path(out),
        "ngrams": counted.tree.size,
        "documents": counted.num_documents,
        "tokenizer": counted.tokenizer,
        "eos": counted.eos,
        "references": [show_path(path) for path in references],
    }
