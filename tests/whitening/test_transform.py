from __future__ import annotations

import json
import os

import numpy as np
import pytest
import safetensors.numpy

from imgret.errors import WhiteningError
from imgret.whitening.overlap import Sketch
from imgret.whitening.transform import SCHEMA, Whitening, is_whitening, words

ABOUT = {
    "kind": "pca",
    "power": 1.0,
    "count": 9,
    "pairs": None,
    "rank": 2,
    "floor": 1e-12,
    "alpha": 0.0,
    "variance": 0.5,
    "recipe": {"model": "gem", "image_size": 1024},
    "fingerprint": "f" * 64,
    "store": "some store",
    "store_sha256": "0" * 64,
    "date": "2026-11-27T10:00:00+00:00",
    "imgret": "0.1.0",
}


def made(**about) -> Whitening:
    sketch = Sketch()
    sketch.add([b"a.jpg", b"b.jpg"])
    return Whitening(np.array([1.0, 0, 0]), np.array([[0.0, 3, 0], [0, 0, 4.0]]), sketch.hashes, ABOUT | about)


def rewrite(path, changes=None, **metadata) -> None:
    """The file of `made` with other arrays or other metadata."""
    arrays = {"mean": made().mean, "projection": made().projection, "ids": made().ids} | (changes or {})
    texts = {key: json.dumps(value) for key, value in ABOUT.items()}
    texts |= {"schema": SCHEMA, "sha256": made().sha256} | metadata
    safetensors.numpy.save_file(
        {key: value for key, value in arrays.items() if value is not None},
        path,
        {key: value for key, value in texts.items() if value is not None},
    )


def test_apply_by_hand():
    # (2, 1, 1) - (1, 0, 0) = (1, 1, 1); P gives (3, 4), of length 5
    (row,) = made().apply(np.array([[2.0, 1, 1]], np.float32))
    np.testing.assert_allclose(row, [0.6, 0.8], atol=1e-6)
    assert row.dtype == np.float32
    # the eps of the papers' code: (3, 4) t has length 5 t, so at t = 1e-6 / 5 a row is of half length
    tiny = made().apply(np.array([[1, 2e-7, 2e-7]]))
    np.testing.assert_allclose(np.linalg.norm(tiny), 0.5, rtol=1e-6)


def test_the_mean_itself_becomes_zeros_not_nan():
    assert made().apply(np.array([[1.0, 0, 0]])).tolist() == [[0, 0]]


def test_rows_do_not_depend_on_their_neighbours():
    rng = np.random.default_rng(0)
    whitening = Whitening(rng.random(32), rng.random((16, 32)) * 1e3, np.zeros(0, np.uint64), ABOUT)
    rows = rng.random((5000, 32)).astype(np.float32)
    together = whitening.apply(rows)
    alone = np.concatenate([whitening.apply(rows[row : row + 1]) for row in (0, 17, 4095, 4096, 4999)])
    np.testing.assert_allclose(together[[0, 17, 4095, 4096, 4999]], alone, atol=1e-7)


def test_rows_of_another_dimension_are_a_callers_mistake():
    with pytest.raises(ValueError, match=r"must be \[N, 3\]"):
        made().apply(np.zeros((1, 2)))


def test_a_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / "w.safetensors"
    made(count=12).save(path)
    again = Whitening.load(path)
    assert np.array_equal(again.mean, made().mean)
    assert np.array_equal(again.projection, made().projection)
    assert np.array_equal(again.ids, made().ids)
    assert again.about == ABOUT | {"count": 12}
    assert again.sha256 == made().sha256
    assert is_whitening(path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_digest_is_of_what_is_applied_and_not_of_when_it_was_fitted():
    assert made().sha256 == made(date="2030-01-01").sha256
    other = made()
    assert Whitening(other.mean, other.projection * 2, other.ids, ABOUT).sha256 != other.sha256
    # the bytes of a 1 x 4 and a 2 x 2 projection are the same; the whitenings are not
    flat = Whitening(np.zeros(0), np.zeros((0, 4)), other.ids, ABOUT)
    assert flat.sha256 != Whitening(np.zeros(0), np.zeros((0, 2)), other.ids, ABOUT).sha256


@pytest.mark.parametrize(
    ("changes", "metadata", "words"),
    [
        ({}, {"schema": "imgret.weights/1"}, "it holds the weights of a model"),
        ({}, {"schema": "imgret.whitening/2"}, "it has schema 'imgret.whitening/2'"),
        ({}, {"schema": None}, "no schema of imgret"),
        ({}, {"kind": None}, "KeyError"),
        ({}, {"kind": "pca"}, "JSONDecodeError"),
        ({}, {"kind": '"zca"'}, "kind is 'zca'"),
        ({}, {"kind": '"learned"'}, "kind is 'learned' with None pairs"),
        ({}, {"power": "null"}, "with power None"),
        ({}, {"count": '"many"'}, "count is 'many'"),
        ({}, {"count": "true"}, "count is True"),
        ({}, {"sha256": "0" * 64}, "own digest"),
        ({"mean": None}, {}, "lacks mean as float64"),
        ({"mean": np.zeros(3, np.float32)}, {}, "lacks mean as float64"),
        ({"mean": np.zeros(2)}, {}, "do not fit together"),
        ({"projection": np.zeros((4, 3))}, {}, "not those of a projection"),
        ({"projection": np.zeros((0, 3))}, {}, "not those of a projection"),
        ({"projection": np.full((2, 3), np.nan)}, {}, "NaN"),
        ({"mean": np.full(3, np.inf)}, {}, "NaN or infinity"),
        ({"ids": np.zeros((2, 2), np.uint64)}, {}, "do not fit together"),
    ],
)
def test_a_file_that_is_not_sound_is_refused_in_one_line(tmp_path, changes, metadata, words):
    path = tmp_path / "w.safetensors"
    rewrite(path, changes, **metadata)
    with pytest.raises(WhiteningError, match=words) as refusal:
        Whitening.load(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_sound_file_written_by_hand_is_read(tmp_path):
    rewrite(tmp_path / "w.safetensors")
    assert Whitening.load(tmp_path / "w.safetensors").about == ABOUT


def test_a_cut_or_flipped_file_is_damaged(tmp_path):
    path = tmp_path / "w.safetensors"
    content = made().to_bytes()
    for cut in (0, 4, 100, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(WhiteningError):
            Whitening.load(path)
    for place in range(-64, 0, 8):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(WhiteningError, match="damaged"):
            Whitening.load(path)
    for junk in (b"\xff" * 64, b"[" * 100_000, (5).to_bytes(8, "little") + b"[1,2]"):
        path.write_bytes(junk)
        assert not is_whitening(path)
        with pytest.raises(WhiteningError, match="is not a whitening"):
            Whitening.load(path)


def test_a_missing_file_is_one_line_that_says_how_to_make_one(tmp_path):
    with pytest.raises(WhiteningError, match=r"no\.safetensors cannot be read.*imgret whiten"):
        Whitening.load(tmp_path / "no.safetensors")
    assert not is_whitening(tmp_path / "no.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="a name that is not UTF-8")
def test_a_file_may_have_any_name(tmp_path):
    from pathlib import Path

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.safetensors"))
    made().save(path)
    assert Whitening.load(path).dim == 2


def test_another_recipe_or_dimension_is_refused_naming_what_differs(tmp_path):
    recipe = ABOUT["recipe"]
    made().check_recipe(recipe, "f" * 64, 3, tmp_path)
    with pytest.raises(WhiteningError, match=r"image_size is 1024 there and 512 here"):
        made().check_recipe(recipe | {"image_size": 512}, "e" * 64, 3, tmp_path)
    with pytest.raises(WhiteningError, match="of dimension 3, those of .* have 4"):
        made().check_recipe(recipe, "f" * 64, 4, tmp_path)


def test_words_say_what_it_is():
    assert words(made().card()).startswith("pca, power 1, 3 -> 2 dimensions, fitted on 9 descriptors of some store (")
    assert words(made(kind="learned", power=None, pairs=1234).card()).startswith("learned, from 1,234 pairs, 3 -> 2")
