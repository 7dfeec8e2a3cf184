from reports.run.alignment import MarkedWord, alignments

METEOR = {"overall": {"METEOR": 0.3}}


def test_alignments_mark_the_words_that_meteor_matches_and_how():
    ((caption, reference),) = alignments(METEOR, "a dog buys trash", ["the dogs bought rubbish"])
    assert caption == [
        MarkedWord("a", None),
        MarkedWord("dog", "stem"),
        MarkedWord("buys", "synonym"),
        MarkedWord("trash", "synonym"),
    ]
    assert [word.stage for word in reference] == [None, "stem", "synonym", "synonym"]


def test_alignments_one_for_each_reference():
    assert len(alignments(METEOR, "a dog", ["a dog", "two cats"])) == 2


def test_alignments_without_meteor_or_caption_are_none():
    assert alignments({"overall": {"METEOR": None}}, "a dog", ["a dog"]) == []
    assert alignments({"overall": {}}, "a dog", ["a dog"]) == []
    assert alignments(METEOR, "", ["a dog"]) == []
