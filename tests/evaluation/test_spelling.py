from __future__ import annotations

from imgret.evaluation.spelling import missing_message, nearest


def test_the_nearest_spelling_is_found_in_any_folder():
    ids = ["jpg/all_souls_000013.jpg", "jpg/ashmolean_000001.jpg", "z.png"]
    assert nearest("all_soul_000013.jpg", ids) == "jpg/all_souls_000013.jpg"
    assert nearest("ALL_SOULS_000013.JPG", ids) == "jpg/all_souls_000013.jpg"
    assert nearest("something else", ids) is None


def test_some_missing_names_are_counted_and_shown_with_what_they_may_mean():
    said = missing_message(["a1.jp"], "images", ["a1.jp", "b.jpg"], "the index", ["x/a1.jpg", "b.jpg"])
    assert said.startswith(
        "1 of the ground truth's 2 images are not in the index: a1.jp (a1.jp is nearest to x/a1.jpg)"
    )
    assert "--allow-missing" in said


def test_when_all_are_missing_the_collection_is_another():
    said = missing_message(["a", "b"], "images", ["a", "b"], "the index", ["x/1\n.jpg"])
    assert "none of the ground truth's 2 images (a, b) is in the index (x/1\\x0a.jpg, ...)" in said
    assert "another collection" in said
