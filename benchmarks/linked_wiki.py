"""A made-up wiki of linked pages: is a fact predicted better that stands only in a page which is linked to?

    python benchmarks/linked_wiki.py
    python benchmarks/linked_wiki.py --write my/wiki         # the pages alone, as JSON Lines: train and val

A wiki has countries, towns and people. A person's page names and links to a town and ends with the language of the
people there, which nothing else about that person says: the town's page does. Towns link to countries, countries back
to their capitals (a cycle), and one person in fifty to a page that is not there. The pages that are judged are another
wiki's: its towns occur in no page that is learnt from, so nothing but the link can tell.

The same small language model is trained twice on the same pages, with and without links, for the same number of steps.
Prints one JSON object: nats of the language on people's pages of the other wiki, with and without links in training and
in reading, and those of a guess among all languages.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "or", "is")]
LANGUAGES = [f"{a}{b}ish" for a in ("Dan", "Kel", "Mor", "Tur") for b in ("n", "l", "k", "d", "r", "m")]


class Page(NamedTuple):
    """A page."""

    title: str
    body: str
    fact: str = ""
    """The end of a person's page, which another page says."""


def make_wiki(pages: int, seed: int) -> list[Page]:
    """The pages of a wiki; another seed makes other names and other facts.

    Args:
        pages: So many, a few less where names are drawn twice.
        seed: Of everything.
    """
    draw = random.Random(seed)
    countries, towns = max(2, pages // 50), max(4, pages // 4)
    titles = list(dict.fromkeys(_name(draw) for _ in range(2 * pages)))[:pages]
    nations, places, people = titles[:countries], titles[countries : countries + towns], titles[countries + towns :]
    spoken = {place: draw.choice(LANGUAGES) for place in places}
    made = [_country(nation, draw.choice(places)) for nation in nations]
    made += [_town(place, draw.choice(nations), spoken[place]) for place in places]
    made += [_person(person, place := draw.choice(places), spoken[place], draw) for person in people]
    draw.shuffle(made)
    return made


def _name(draw: random.Random) -> str:
    return "".join(draw.choices(SYLLABLES, k=draw.choice((2, 3)))).capitalize()


def _country(title: str, capital: str) -> Page:
    return Page(title, f"{title} is a country. Its capital is [{capital}]({capital}).")


def _town(title: str, country: str, language: str) -> Page:
    return Page(title, f"{title} is a town where people speak {language}. It lies in [{country}]({country}).")


def _person(title: str, town: str, language: str, draw: random.Random) -> Page:
    aside = f" and wrote [a book]({title} (book))" if draw.random() < 0.02 else ""
    text = f"{title} was born in [{town}]({town}){aside}. The people there speak"
    return Page(title, f"{text} {language}", f" {language}")


def write_wiki(path: Path, pages: Sequence[Page]) -> Path:
    """Pages as JSON Lines of ``data.documents``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"title": page.title, "body": page.body}) + "\n" for page in pages))
    return path


def main() -> None:
    """Write the pages, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pages", type=int, default=2000, help="of the wiki that is learnt from; the other has a tenth"
    )
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch_size", type=int, default=8, help="rows of an optimizer step")
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--link_tokens", type=int, default=48, help="of the pages before one")
    parser.add_argument("--bpe_size", type=int, default=1500)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--size", default="nano", help="of the language model")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write train.jsonl and val.jsonl, and nothing else"
    )
    options = parser.parse_args()
    if options.write:
        for name, pages, seed in (("train", options.pages, 0), ("val", options.pages // 10, 1)):
            write_wiki(options.write / f"{name}.jsonl", make_wiki(pages, seed))
    else:
        print(json.dumps(measure(options)))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train with and without links, and judge facts with and without them."""
    from pipeline.documents import encode_split, open_vocabulary

    val = make_wiki(max(20, options.pages // 10), 1)
    with tempfile.TemporaryDirectory() as scratch:
        config = _configuration(Path(scratch), make_wiki(options.pages, 0), val, options.bpe_size)
        vocabulary = open_vocabulary(config)
        train_bins, val_bins = (_bins(encode_split(config, split, vocabulary)) for split in ("train", "val"))
        found: dict[str, Any] = {"pages": len(train_bins), "links": train_bins.about["links"]}
        found["guess"] = round(math.log(len(LANGUAGES)), 3)
        for linked in (True, False):
            model = _train(_packer(train_bins, vocabulary, options, linked=linked), vocabulary, options)
            for reads in (True, False):
                packer = _packer(val_bins, vocabulary, options, linked=reads)
                name = f"trained_{'with' if linked else 'without'}_read_{'with' if reads else 'without'}"
                found[name] = _nats_of_facts(model, packer, vocabulary, val)
    return found


def _configuration(folder: Path, train: Sequence[Page], val: Sequence[Page], bpe_size: int) -> Any:
    from configuration.loading import load_config

    files = {name: str(write_wiki(folder / f"{name}.jsonl", pages)) for name, pages in (("train", train), ("val", val))}
    documents = {"format": "jsonl", "links": True, **files}
    described = {"task": "text", "model": {"preset": "nano", "bpe_size": bpe_size}, "documents": documents}
    (folder / "conf.json").write_text(json.dumps(described | {"work_dir": str(folder / "run")}))
    return load_config(folder / "conf.json")


def _bins(encoded: Any) -> Any:
    assert encoded is not None
    return encoded.bins


def _packer(bins: Any, vocabulary: Any, options: argparse.Namespace, *, linked: bool) -> Any:
    from preprocessors.documents.packing import Packer

    ends = {"bos": vocabulary.tokenizer.bos_id, "eos": vocabulary.tokenizer.eos_id}
    return Packer(bins, options.context, linked=linked, link_tokens=options.link_tokens, **ends)


def _batches(packer: Any, options: argparse.Namespace) -> Iterator[Any]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        plan = packer.plan(epoch)
        for start in range(0, len(plan), options.batch_size):
            yield packer.batch(plan, range(start, min(start + options.batch_size, len(plan))))
        epoch += 1


def _train(packer: Any, vocabulary: Any, options: argparse.Namespace) -> Any:
    """A new model after so many steps, with a learning rate that rises over a tenth of them and falls to zero."""
    import torch
    from torch.nn.functional import cross_entropy

    from models.style_lm.model import StyleLM
    from preprocessors.documents.packing import mask

    model = StyleLM.new(
        vocabulary.tokenizer, None, size=options.size, positions=options.context, dropout=options.dropout
    )
    optimizer = torch.optim.AdamW(model.network.parameters(), options.lr, weight_decay=0.01)
    rise = max(1, options.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (options.steps - step) / max(1, options.steps - rise))
    )
    model.network.train()
    for _, batch in zip(range(options.steps), _batches(packer, options), strict=False):
        logits = model.logits(batch.token_ids, batch.position_ids, mask(batch.document_ids, batch.ancestors))
        loss = cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.network.eval()
    return model


def _nats_of_facts(model: Any, packer: Any, vocabulary: Any, pages: Sequence[Page]) -> float:
    """Nats of the tokens of a fact, in the mean."""
    import torch
    from torch.nn.functional import cross_entropy

    from preprocessors.documents.packing import mask

    plan, nats = packer.plan(None), list[float]()
    for row in range(len(plan)):
        batch = packer.batch(plan, [row])
        with torch.no_grad():
            logits = model.logits(batch.token_ids, batch.position_ids, mask(batch.document_ids, batch.ancestors))
        costs = cross_entropy(logits[0], batch.targets[0], reduction="none")
        ends = (batch.targets[0] == vocabulary.tokenizer.eos_id).nonzero().flatten().tolist()
        for window, end in zip(plan.row(row), ends, strict=True):
            if fact := pages[int(packer.windows.document[window])].fact:
                length = len(vocabulary.tokenizer.encode_batch([fact])[0])
                nats.append(float(costs[end - length : end].sum()))
    return round(sum(nats) / len(nats), 3)


if __name__ == "__main__":
    main()
