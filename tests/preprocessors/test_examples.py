from pathlib import Path

from preprocessors.examples import CaptionExample, make_example_id, merge_examples, rows_by_picture


def test_make_example_id_same_image_two_styles_gives_two_keys():
    assert make_example_id("a.jpg", "Sweet") == "a.jpg#Sweet"
    assert make_example_id("a.jpg", "Calm") != make_example_id("a.jpg", "Sweet")


def test_caption_example_without_source_names_itself_by_its_id():
    example = CaptionExample("a.jpg#Sweet", Path("photos/a.jpg"), "Sweet", ("hi",))
    assert example.image_name == "a.jpg"
    assert example.where == "a.jpg#Sweet"


def test_merge_examples_same_id_appends_captions_in_order_of_first_appearance():
    def example(image: str, caption: str, row: int) -> CaptionExample:
        return CaptionExample(f"{image}#calm", Path(image), "calm", (caption,), "f.jsonl", row)

    merged = merge_examples([example("b", "1", 1), example("a", "2", 2), example("b", "3", 3), example("b", "1", 4)])
    assert [(item.example_id, item.captions, item.row) for item in merged] == [
        ("b#calm", ("1", "3", "1"), 1),
        ("a#calm", ("2",), 2),
    ]


def test_image_name_keeps_the_folder_that_tells_two_pictures_apart():
    examples = [
        CaptionExample(f"{name}#odd#calm", Path("photos") / name, "odd#calm", ("x",)) for name in ("a/1.jpg", "b/1.jpg")
    ]
    assert [example.image_name for example in examples] == ["a/1.jpg", "b/1.jpg"]


def test_rows_by_picture_keeps_rows_in_order_and_tells_equal_names_in_two_folders_apart():
    paths = [Path("a/1.jpg"), Path("b/1.jpg"), Path("a/1.jpg"), Path("a/2.jpg"), Path("b/1.jpg")]
    examples = [CaptionExample(f"{row}", path, "s", ("c",)) for row, path in enumerate(paths)]
    assert rows_by_picture(examples) == [[0, 2], [1, 4], [3]]
