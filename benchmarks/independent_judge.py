"""How well do captions hit their style, by a judge that no reward and no result knows?

    python benchmarks/independent_judge.py work_dir/RUN/eval/test.captions.json ...

Prints one JSON object: the judge's accuracy on people's captions of FlickrStyle's dev photos, and on each file. It
learns from the captions of the training photos, as the judge of the results does, but sees them otherwise: words
weighted by tf-idf, condensed to 150 latent dimensions (Deerwester et al. 1990), and a support vector machine with a
Gaussian kernel over those; the judge of the results, and the reward ``style``, are linear in hashed n-grams.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from metrics.tokenizers.ptb import tokenize_many
from preprocessors.readers import SplitName, read_examples
from utils.io import read_json

REPOSITORY = Path(__file__).resolve().parent.parent
STYLES = ("humorous", "romantic")


def main() -> None:
    """Train the judge and ask it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    parser.add_argument("captions", nargs="*", type=Path, help="captions files of evaluations")
    parser.add_argument("--data", type=Path, default=shared / "data/flickrstyle", help="default: %(default)s")
    arguments = parser.parse_args()
    judge = train_judge(*read_people(arguments.data, "train"))
    result: dict[str, Any] = {"people": accuracy(judge, *read_people(arguments.data, "val"))}
    for file in arguments.captions:
        rows = [row for row in read_json(file) if row["style"] in STYLES]
        result[str(file)] = accuracy(judge, [row["caption"] for row in rows], [row["style"] for row in rows])
    print(json.dumps(result))


def read_people(data: Path, split: SplitName) -> tuple[list[str], list[str]]:
    """Captions of Flickr8k's train or dev photos, and their styles."""
    examples = read_examples(
        "flickrstyle", annotations=data, images=data, split_name=split, styles=STYLES, on_bad_image="ignore"
    ).examples
    return [example.captions[0] for example in examples], [example.style for example in examples]


def train_judge(captions: Sequence[str], styles: Sequence[str]) -> Any:
    """A classifier of tokenised captions."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import SVC

    words = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True, min_df=2)
    judge = make_pipeline(words, TruncatedSVD(150, random_state=7), Normalizer(), SVC(C=3.0, gamma="scale"))
    return judge.fit(tokenize_many(captions), styles)


def accuracy(judge: Any, captions: Sequence[str], styles: Sequence[str]) -> float:
    """Share of captions that are taken for their own style."""
    found = judge.predict(tokenize_many(captions))
    return round(float((found == styles).mean()), 4)


if __name__ == "__main__":
    main()
