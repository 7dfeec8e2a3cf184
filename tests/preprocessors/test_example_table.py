import multiprocessing
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import hash_examples, styles_of
from preprocessors.example_table import ExampleTable, TableBuilder
from preprocessors.examples import (
    CaptionExample,
    keep_examples,
    make_example_id,
    merge_examples,
    pictures_of,
    rows_by_picture,
    texts_of,
)
from preprocessors.text.styles import StyleRegistry, resolve_styles

ROOT = Path("photos")


def draw_examples(seed: int, count: int, pictures: int) -> list[CaptionExample]:
    """Examples as a reader makes them before any are merged: few pictures come often, texts are of any script."""
    draw = random.Random(seed)
    words = ["a", "dog", "", "犬", "naïve", "😀", "\udcff", "x" * 300]
    found = []
    for row in range(1, count + 1):
        number = draw.randrange(pictures)
        image = f"{['a', 'ü/b'][number % 2]}{number}.jpg"
        style = draw.choice(["calm", "Wry", "wry ", "陽気"])
        captions = tuple(" ".join(draw.choices(words, k=4)) for _ in range(draw.randint(0, 3)))
        source = draw.choice(["one.json", "two.json"])
        found.append(CaptionExample(make_example_id(image, style), ROOT / image, style, captions, source, row))
    return found


def build(examples: list[CaptionExample]) -> ExampleTable:
    builder = TableBuilder(ROOT)
    for item in examples:
        builder.add(item.image_name, item.style, item.captions, item.source, item.row)
    assert len(builder) == len(examples)
    return builder.build()


def with_places(examples) -> list[tuple]:
    """Everything of examples, where they were read too, which equality leaves out."""
    return [(item, item.image_name, item.source, item.row) for item in examples]


CASES = [(0, 0, 1), (1, 1, 1), (2, 500, 30), (3, 300, 5000), (4, 5000, 700)]


@pytest.mark.parametrize(("seed", "count", "pictures"), CASES)
def test_table_says_of_random_rows_what_the_list_says(seed: int, count: int, pictures: int):
    rows = draw_examples(seed, count, pictures)
    listed, table = merge_examples(rows), build(rows)
    assert with_places(table) == with_places(listed)
    assert with_places(table[place] for place in range(-len(listed), len(listed))) == with_places(listed + listed)
    assert len(table) == len(listed)
    assert table == listed
    assert list(texts_of(table)) == list(texts_of(listed))
    assert list(pictures_of(table)) == list(pictures_of(listed))
    assert rows_by_picture(table) == rows_by_picture(listed)
    assert styles_of(table) == styles_of(listed)
    assert hash_examples(table) == hash_examples(listed)
    assert table.num_captions().tolist() == [len(item.captions) for item in listed]


@pytest.mark.parametrize(("seed", "count", "pictures"), CASES)
def test_part_of_a_table_says_what_the_part_of_the_list_says(seed: int, count: int, pictures: int):
    rows = draw_examples(seed, count, pictures)
    listed, table = merge_examples(rows), build(rows)
    for part in (slice(None, None, 3), slice(-1, None, -1), slice(5, 2)):
        assert with_places(table[part]) == with_places(listed[part])
    part, expected = table[1::2], listed[1::2]
    assert list(pictures_of(part)) == list(pictures_of(expected))
    assert rows_by_picture(part) == rows_by_picture(expected)
    assert styles_of(part) == styles_of(expected)
    is_kept = lambda item: len(item.captions) > 1  # noqa: E731
    assert with_places(keep_examples(table, is_kept)) == with_places(keep_examples(listed, is_kept))


@pytest.mark.parametrize(("seed", "count", "pictures"), CASES)
def test_styles_of_a_table_are_resolved_and_merged_as_those_of_a_list(seed: int, count: int, pictures: int):
    rows = draw_examples(seed, count, pictures)
    registry = StyleRegistry(["Calm", "wry", "陽気"])
    listed, table = resolve_styles(merge_examples(rows), registry), resolve_styles(build(rows), registry)
    assert isinstance(table, ExampleTable)
    assert with_places(table) == with_places(listed)
    assert rows_by_picture(table) == rows_by_picture(listed)


def test_unknown_style_of_a_table_names_its_first_row():
    rows = draw_examples(5, 40, 9)
    first = next(item for item in rows if item.style == "陽気")
    with pytest.raises(ValueError, match=rf"{first.source}, row {first.row}: unknown style '陽気'"):
        resolve_styles(build(rows), StyleRegistry(["calm", "wry"]))


def test_captions_of_a_table_come_from_its_own_text_after_others_are_added():
    """Two builders side by side share nothing."""
    one, two = TableBuilder(ROOT), TableBuilder(ROOT)
    one.add("a.jpg", "calm", ["one"])
    two.add("a.jpg", "calm", ["two"])
    one.add("a.jpg", "calm", ["more"])
    assert [one.build()[0].captions, two.build()[0].captions] == [("one", "more"), ("two",)]


def _sum_rows(table: ExampleTable) -> int:
    return sum(item.row for item in table)


def test_table_goes_to_workers_in_its_text_and_a_few_numbers():
    rows = draw_examples(6, 3_000, 4_000)
    table = build(rows)
    sent = pickle.dumps(table)
    text = sum(len(item.image_name.encode("utf-8", "surrogatepass")) for item in rows)
    text += sum(len(caption.encode("utf-8", "surrogatepass")) for item in rows for caption in item.captions)
    captions = sum(len(item.captions) for item in rows)
    # 28 bytes of numbers an example, 8 a caption and a name; nothing that grows with objects.
    assert len(sent) < text + 28 * len(rows) + 8 * (captions + len(rows)) + 2_000
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_sum_rows, (table,)) == _sum_rows(table)


def test_table_index_out_of_range_is_refused():
    table = build(draw_examples(7, 3, 100))
    assert table[np.int64(2)].row == 3
    with pytest.raises(IndexError):
        table[3]
