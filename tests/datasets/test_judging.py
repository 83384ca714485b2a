from __future__ import annotations

from dataclasses import replace

import pytest

from imgret.datasets.judging import as_csv, ground_truth
from imgret.errors import InputError
from imgret.ground_truth import load


def positives(truth):
    """query name -> names of its positives"""
    return {
        query.name: [truth.database[row] for row in truth.judge(number, "all").positives]
        for number, query in enumerate(truth.queries)
    }


def test_every_image_of_a_class_of_two_asks_for_all_the_others(labelled):
    truth = ground_truth(labelled("a b a lone - b a"))
    assert positives(truth) == {
        "0.jpg": ["2.jpg", "6.jpg"],
        "1.jpg": ["5.jpg"],
        "2.jpg": ["0.jpg", "6.jpg"],
        "5.jpg": ["1.jpg"],
        "6.jpg": ["0.jpg", "2.jpg"],
    }
    assert truth.database == [f"{i}.jpg" for i in range(7)]  # the lone one and the unlabelled one are distractors


def test_a_limit_leaves_the_database_whole_and_is_seeded(labelled):
    whole = labelled(" ".join("abcde" * 4) + " -")
    names = {seed: [query.name for query in ground_truth(whole, queries=5, seed=seed).queries] for seed in (0, 1)}
    assert {len(chosen) for chosen in names.values()} == {5}
    assert names[0] != names[1]
    truth = ground_truth(whole, queries=5, seed=0)
    assert [query.name for query in truth.queries] == names[0]
    assert len(truth.database) == 21
    assert {len(truth.judge(query, "all").positives) for query in range(5)} == {3}


def test_the_limit_chooses_by_id_whatever_else_is_there(labelled):
    few, more = labelled("a a b b"), labelled("a a b b -")
    assert positives(ground_truth(few, queries=2)) == positives(ground_truth(more, queries=2))


def test_a_limit_beyond_the_images_is_no_limit(labelled):
    assert len(ground_truth(labelled("a a b"), queries=99).queries) == 2
    with pytest.raises(ValueError, match="queries must be at least 1, got 0"):
        ground_truth(labelled("a a"), queries=0)


def test_nothing_to_ask_is_an_error(labelled):
    for text in ("a b c", "- -"):
        with pytest.raises(InputError, match="no class has two images"):
            ground_truth(labelled(text))


def test_query_and_gallery_stay_apart(labelled):
    truth = ground_truth(labelled("a a a b c b", "query query gallery gallery query gallery"))
    # c has nothing in the gallery and does not ask; queries are not in the database
    assert positives(truth) == {"0.jpg": ["2.jpg"], "1.jpg": ["2.jpg"]}
    assert truth.database == ["2.jpg", "3.jpg", "5.jpg"]


def test_other_splits_do_not_set_apart(labelled):
    truth = ground_truth(labelled("a a a", "query train gallery"))
    assert len(truth.queries) == len(truth.database) == 3


def test_odd_names_survive_the_file(labelled, tmp_path):
    plain = labelled("a a")
    names = ('x, "y"\n.jpg', "caf\udce9\r.jpg")
    odd = replace(
        plain,
        classes=('l, "m"',),
        images=tuple(replace(image, id=n) for image, n in zip(plain.images, names, strict=True)),
    )
    (tmp_path / "v.csv").write_bytes(as_csv(odd))
    truth = load(tmp_path / "v.csv")
    assert positives(truth) == {names[0]: [names[1]], names[1]: [names[0]]}
    assert truth.sha256 == ground_truth(odd).sha256
