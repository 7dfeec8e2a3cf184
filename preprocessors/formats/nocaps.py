"""nocaps: COCO's form with the domain of each picture, by which its figures are given."""

from __future__ import annotations

from preprocessors.formats.coco import coco_rows
from preprocessors.formats.rows import SPLIT_FILES, Format, file_per_split

FORMAT = Format(
    open_rows=coco_rows,
    find=file_per_split("nocaps_{split}_4500_captions.json", "nocaps_{split}_image_info.json"),
    data_set="nocaps",
    settings=SPLIT_FILES,
    title="nocaps' form",
    recognises=lambda sample: {"id", "file_name", "domain"} <= sample.first_of("images").keys(),
)
