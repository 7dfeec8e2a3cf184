r"""Styled captions linked to what is plainly said of their photos: are they foretold better behind it?

    python benchmarks/linked_captions.py --out work_dir/linked
    python finetune.py --conf conf/lm_linked.json
    python finetune.py --conf conf/lm_linked.json --set documents.links=false --set work_dir=work_dir/lm_unlinked

Writes FlickrStyle's captions as documents, ``train.jsonl`` and ``val.jsonl`` (Flickr8k's train and dev photos): of each
photo the humorous and the romantic caption, each with links to the factual ones, which are documents too. The factual
captions of a validation photo are no more known to the model than its styled ones. What to look at are the losses by
style that the runs end with, nats per token; ``finetune.py eval --checkpoint`` with the other ``documents.links`` has a
model read the other way than it was trained.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from preprocessors.text.captions import clean_caption
from utils.io import encode_json, read_json, write_bytes

SHARED = Path(os.environ.get("STYLECAP_SHARED", Path(__file__).resolve().parent.parent.parent / "shared"))
SPLITS = {"train": "train", "val": "dev"}


def main() -> None:
    """Write the documents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--factual", type=int, default=1, help="factual captions of a photo, 1 to 5 (%(default)s)")
    options = parser.parse_args()
    rows = read_json(SHARED / "data/flickrstyle/captions.json")
    for name, split in SPLITS.items():
        found = [document for row in rows if row["flickr8k_split"] == split for document in of(row, options.factual)]
        write_bytes(options.out / f"{name}.jsonl", b"".join(encode_json(document) + b"\n" for document in found))


def of(row: dict[str, Any], factual: int) -> Iterator[dict[str, Any]]:
    """The documents of a photo."""
    titles = [f"{row['image']}#{number}" for number in range(factual)]
    for title, caption in zip(titles, row["factual"], strict=False):
        yield {"body": clean_caption(caption), "meta": "factual", "title": title}
    for style in ("humorous", "romantic"):
        yield {"body": clean_caption(row[style]), "meta": style, "title": f"{row['image']}#{style}", "links": titles}


if __name__ == "__main__":
    main()
