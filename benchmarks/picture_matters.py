"""Does the captioner look? Score a run's captions with the right pictures and with shuffled ones.

    python benchmarks/picture_matters.py --conf work_dir/demo_scst/config.json

Prints one JSON object: CIDEr with the right pictures, and with every example given another example's picture. If the
data are the drawn scenes: also the share of pictures whose colours, shapes and relation are right in all styles, and
the share of captions in the right style.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.styled import open_styled
from configuration.loading import RunConfig, load_config
from pipeline.captioner import make_writer
from pipeline.prepare import read_eval_split
from pipeline.training import make_score
from preprocessors.examples import CaptionExample
from preprocessors.pictures.scene_captions import marker_share, right_share


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conf", required=True, type=Path, help="config.json of a finished run")
    print(json.dumps(measure(load_config(parser.parse_args().conf))))


def measure(config: RunConfig) -> dict[str, float]:
    """CIDEr with right and with shuffled pictures."""
    styled = open_styled(config.work_dir / "output")
    writer = make_writer(config, styled)
    examples = read_eval_split(config.data, config.eval, styled.registry).examples
    score = make_score(examples, "CIDEr")
    right = writer.caption(examples, config.eval.batch_size)
    wrong = writer.caption(shuffle_pictures(examples, config.train.seed), config.eval.batch_size)
    result = {"n": len(examples), "CIDEr": score(right), "CIDEr_shuffled_pictures": score(wrong)}
    if config.data.format == "drawn_scenes":
        result["right_picture_share"] = right_share(examples, right)
        by_style: dict[str, list[str]] = {}
        for example in examples:
            by_style.setdefault(example.style, []).append(right[example.example_id])
        result["right_style_share"] = marker_share(by_style)
    return result


def shuffle_pictures(examples: Sequence[CaptionExample], seed: int) -> list[CaptionExample]:
    """Give every picture's place to the next one in a random circle, so that no picture stays where it was."""
    paths = list(dict.fromkeys(example.image_path for example in examples))
    random.Random(seed).shuffle(paths)
    others = dict(zip(paths, [*paths[1:], paths[0]], strict=True))
    return [replace(example, image_path=others[example.image_path]) for example in examples]


if __name__ == "__main__":
    main()
