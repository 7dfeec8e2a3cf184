"""Score captions that some model wrote, without the model.

    python -m metrics.evaluate --references R.json --hypotheses H.json
    python -m metrics.evaluate --references R.json --hypotheses H.json --metrics Bleu_4 CIDEr --out O.json --per-image
    python -m metrics.evaluate --references R.json --hypotheses H.json --clip CLIP --images PHOTOS

References are COCO annotations, a data set as it is published (docs/data.md lists them), a list of rows {"image_id",
"caption"}, or a map {id: [captions]}; hypotheses are COCO results, rows that also have "style" and "example_id", or a
map {id: caption}. Ids are compared as text: 42 is "42"; where none is in both files, pictures are matched by file name.
The last line on standard output is the results, one JSON object. SPICE needs Java and is null without it.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrics.command_line import check_writable, run_command, show_path
from metrics.table import METEORS, METRICS, TEXT_METRICS, with_pictures
from metrics.tokenizers.table import PTB, TOKENIZERS

if TYPE_CHECKING:
    from metrics.caption_table import CaptionTable
    from metrics.clip import Sight

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0, 2 for a fault of the input, told in one line on standard error, 130 if interrupted.
    """
    options = make_parser().parse_args(arguments)
    return run_command(lambda: evaluate(options), options.out)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m metrics.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", required=True, type=Path, metavar="R.json", help="human captions")
    parser.add_argument("--hypotheses", required=True, type=Path, metavar="H.json", help="one caption for each id")
    parser.add_argument("--out", type=Path, metavar="O.json", help="also write the results here")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help=" ".join(METRICS))
    parser.add_argument(
        "--per-image", action="store_true", help="also give each example's scores; metrics.compare needs them"
    )
    parser.add_argument(
        "--train-captions",
        type=Path,
        metavar="T.json",
        help="{style: [captions]}, a list of captions, or COCO annotations with styles: for the share of copied "
        "captions, the best constant caption and the style judge",
    )
    parser.add_argument(
        "--document-frequency",
        type=Path,
        metavar="DF",
        help="weigh CIDEr by another corpus: counts of `metrics.cider build-df` (.npz) or of self-critical.pytorch "
        "(.p), or a file of captions",
    )
    parser.add_argument(
        "--tokenizer",
        default=PTB,
        metavar="NAME",
        help=f"what makes words: {', '.join(TOKENIZERS)}, or package.module:function of a segmenter such as jieba:lcut",
    )
    parser.add_argument(
        "--meteor",
        default="python",
        choices=METEORS,
        help="what computes METEOR: our own (default), or the Java program, whose scores are the same",
    )
    parser.add_argument(
        "--clip",
        metavar="CLIP",
        help="folder or hub id of a CLIP model of transformers, for CLIPScore and RefCLIPScore as well",
    )
    parser.add_argument(
        "--images", type=Path, metavar="PHOTOS", help="folder, or file such as a tar, of the pictures that it looks at"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="score the ids that both files have, if there are others"
    )
    return parser


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Check the options, read the files, score.

    Returns:
        The results, as ``metrics.results.evaluate_captions`` gives them.

    Raises:
        ValueError: If options or files cannot be used.
        OSError: If a file cannot be read.
    """
    from metrics.caption_files import read_hypotheses, read_references, read_train_captions
    from metrics.matching import keep_used_splits, match_pictures
    from metrics.other_corpus import read_document_frequency
    from metrics.results import evaluate_captions
    from metrics.scores.clip import NO_CLIP
    from metrics.tokenizers.table import open_tokenizer

    tokenizer = open_tokenizer(options.tokenizer)
    if (options.clip is None) != (options.images is None):
        raise ValueError("--clip and --images: give both, for CLIPScore looks at pictures, or neither.")
    names = check_metric_names(options.metrics or default_metrics(options.tokenizer))
    names = names if options.clip is None else with_pictures(names)
    given = (options.references, options.hypotheses, options.train_captions, options.document_frequency)
    inputs = [path for path in given if path is not None]
    if options.out is not None:
        check_writable(options.out, inputs)
    references, hypotheses = read_references(options.references), read_hypotheses(options.hypotheses)
    weights = options.document_frequency and read_document_frequency(options.document_frequency, tokenizer)
    doubts = tell_doubts((references, hypotheses), by_words=options.tokenizer == PTB)
    references, matched_by = match_pictures(references, hypotheses)
    references = keep_used_splits(references, hypotheses)
    train_captions = None if options.train_captions is None else read_train_captions(options.train_captions)
    ids = common_ids(references, hypotheses, allow_missing=options.allow_missing)
    images = {key: key for key in ids} | merge_labels(references.images, hypotheses.images, ids)
    sight = NO_CLIP if options.clip is None else open_sight(options, ids, images, (references, hypotheses))
    logger.info("scoring %s captions: %s", f"{len(ids):,}", ", ".join(names))
    return evaluate_captions(
        {key: references.captions[key] for key in ids},
        {key: hypotheses.captions[key][0] for key in ids},
        merge_labels(references.styles, hypotheses.styles, ids),
        images=images,
        train_captions=train_captions,
        provenance=describe_inputs(options, references, hypotheses, len(ids))
        | ({"matched_by": matched_by} if matched_by else {})
        | ({"doubtful": doubts} if doubts else {}),
        metrics=names,
        per_image=options.per_image,
        domains={key: references.domains[key] for key in ids if key in references.domains},
        tokenizer=tokenizer,
        document_frequency=weights,
        meteor=options.meteor,
        sight=sight,
    )


def tell_doubts(tables: Sequence[CaptionTable], *, by_words: bool) -> list[str]:
    """What is doubtful about the captions of files, which is logged as well; see ``metrics.doubtful``."""
    from metrics.doubtful import find_doubts

    doubts = []
    for table in tables:
        captions = (text for texts in table.captions.values() for text in texts)
        doubts += [f"{table.path}: {doubt}" for doubt in find_doubts(captions, by_words=by_words)]
    for doubt in doubts:
        logger.warning("%s", doubt)
    return doubts


def open_sight(
    options: argparse.Namespace, ids: Sequence[str], images: Mapping[str, str], tables: Sequence[CaptionTable]
) -> Sight:
    """The CLIP model and the pictures that it looks at.

    Raises:
        ValueError: If the model cannot be used, or a picture could be several.
        FileNotFoundError: If the model or a picture is not there.
    """
    from transformers.utils.logging import disable_progress_bar

    from metrics.clip import Clip, Sight
    from metrics.pictures import pictures_of
    from metrics.scores.measurement import MetricUnavailable
    from utils.hub import resolve_model_folder

    disable_progress_bar()  # of the weights
    open_picture = pictures_of(options.images, ids, images, tables)
    try:
        return Sight(Clip.open(resolve_model_folder(options.clip), options.clip), open_picture)
    except MetricUnavailable as error:
        raise ValueError(f"--clip {options.clip}: {error}.") from error


def default_metrics(tokenizer: str) -> list[str]:
    """The metrics where none is asked for: all of captions alone, but of other words than PTB's no English ones."""
    return [name for name in TEXT_METRICS if tokenizer == PTB or not METRICS[name].needs_english]


def check_metric_names(names: Sequence[str]) -> list[str]:
    """The metrics asked for, each once, in the usual order.

    Raises:
        ValueError: Naming the first that is unknown and the one most like it.
    """
    spellings = {name.lower(): name for name in METRICS}
    for name in names:
        if name not in METRICS:
            nearest = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.5)
            hint = f"did you mean {spellings[nearest[0]]}? " if nearest else ""
            raise ValueError(f"--metrics {name}: unknown; {hint}Known: {', '.join(METRICS)}.")
    return [name for name in METRICS if name in names]


def common_ids(references: CaptionTable, hypotheses: CaptionTable, *, allow_missing: bool) -> list[str]:
    """The ids to score, in the order of the references.

    Args:
        references: The human captions.
        hypotheses: The captions to score.
        allow_missing: Leave out the ids that only one of them has, with a warning.

    Raises:
        ValueError: If they have no id in common, or without ``allow_missing`` not the same ids: counts and lists them.
    """
    from metrics.caption_files import count_and_list

    known, given = references.captions, hypotheses.captions
    common = [key for key in known if key in given]
    alone = {
        references.path: [key for key in known if key not in given],
        hypotheses.path: [key for key in given if key not in known],
    }
    fault = "; ".join(f"{count_and_list(ids)} only in {path}" for path, ids in alone.items() if ids)
    if not common:
        styled = references.styles and not hypotheses.styles
        hint = f" The references have styles; give each row of {hypotheses.path} its 'style'." if styled else ""
        raise ValueError(f"no id in common: {fault}.{hint}")
    if fault and not allow_missing:
        raise ValueError(f"{fault}. Use --allow-missing to score the {len(common):,} that both files have.")
    if fault:
        logger.warning("%s", fault)
    return common


def merge_labels(first: Mapping[str, str], second: Mapping[str, str], ids: Sequence[str]) -> dict[str, str]:
    """Styles (or images) of these ids, from the references' file where it says them, else from the hypotheses'."""
    both = {**second, **first}
    return {key: both[key] for key in ids if key in both}


def describe_inputs(
    options: argparse.Namespace, references: CaptionTable, hypotheses: CaptionTable, scored: int
) -> dict[str, Any]:
    """What a reader of the numbers needs to make them again."""
    from utils.environment import describe_environment

    provenance: dict[str, Any] = {
        "references": show_path(options.references),
        "hypotheses": show_path(options.hypotheses),
        "train_captions": show_path(options.train_captions),
        "document_frequency": show_path(options.document_frequency),
        "images": show_path(options.images),
    }
    if options.allow_missing:
        provenance["unmatched"] = {
            "references_only": len(references.captions) - scored,
            "hypotheses_only": len(hypotheses.captions) - scored,
        }
    return provenance | {"environment": describe_environment()}


if __name__ == "__main__":
    sys.exit(main())
