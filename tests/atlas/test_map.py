"""The file of a map."""

from __future__ import annotations

import io

import numpy as np
import pytest

from imgret.atlas.map import Atlas, key_of
from imgret.atlas.source import Source
from imgret.errors import SpaceError
from tests.atlas.data import clustered, source_of

KEY = "0123456789abcdef" * 4


@pytest.fixture
def source() -> Source:
    return source_of(clustered(40)[0])


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """How many images were laid out, each time that it was done."""
    done: list[int] = []
    compute = Atlas.compute.__func__

    def counted(cls, source, **how):
        done.append(source.count)
        return compute(cls, source, **how)

    monkeypatch.setattr(Atlas, "compute", classmethod(counted))
    return done


def the_file(folder):
    (path,) = folder.iterdir()
    return path


def test_what_was_saved_is_loaded(tmp_path):
    atlas = Atlas(np.random.default_rng(0).uniform(0, 1, (9, 2)).astype(np.float32))
    atlas.save(tmp_path / "map.npy")
    assert (Atlas.load(tmp_path / "map.npy", 9).positions == atlas.positions).all()
    assert (np.load(tmp_path / "map.npy") == atlas.positions).all()  # numpy alone can read it
    assert [one.name for one in tmp_path.iterdir()] == ["map.npy"]


def test_a_map_is_computed_once(tmp_path, source, computed):
    first = Atlas.cached(tmp_path / "new" / "folder", KEY, source)
    second = Atlas.cached(tmp_path / "new" / "folder", KEY, source)
    assert computed == [40]
    assert (first.positions == second.positions).all()


def test_a_changed_collection_and_another_seed_have_maps_of_their_own(tmp_path, source, computed):
    Atlas.cached(tmp_path, KEY, source)
    Atlas.cached(tmp_path, KEY[::-1], source)
    Atlas.cached(tmp_path, KEY, source, seed=1)
    assert len(computed) == len(list(tmp_path.iterdir())) == 3


def npy(array: np.ndarray, **how) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **how)
    return buffer.getvalue()


@pytest.mark.parametrize("place", [0, 8, 60, 130, 200, -40, -1])
def test_a_damaged_file_is_computed_again_and_replaced(tmp_path, source, computed, place):
    whole = Atlas.cached(tmp_path, KEY, source)
    sound = the_file(tmp_path).read_bytes()
    damaged = bytearray(sound)
    damaged[place] ^= 1
    the_file(tmp_path).write_bytes(damaged)
    assert (Atlas.cached(tmp_path, KEY, source).positions == whole.positions).all()
    assert computed == [40, 40]
    assert the_file(tmp_path).read_bytes() == sound


@pytest.mark.parametrize("length", [0, 1, 31, 32, 100, 300])
def test_a_file_that_was_cut_off_is_none(tmp_path, source, length):
    Atlas.cached(tmp_path, KEY, source)
    path = the_file(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    assert Atlas.load(path) is None


@pytest.mark.parametrize(
    "positions",
    [
        np.zeros((40, 3), np.float32),
        np.zeros(80, np.float32),
        np.zeros((39, 2), np.float32),
        np.full((40, 2), np.nan, np.float32),
        np.full((40, 2), np.inf, np.float32),
        np.full((40, 2), 1.5, np.float32),
    ],
)
def test_positions_that_are_no_map_of_so_many_images_are_none(tmp_path, positions):
    Atlas(positions).save(tmp_path / "map.npy")
    assert Atlas.load(tmp_path / "map.npy", 40) is None


def test_another_type_a_pickle_and_a_folder_are_none(tmp_path):
    import hashlib

    contents = [npy(np.zeros((40, 2))), npy(np.array([[None, None]] * 40), allow_pickle=True), b"x" * 99]
    for number, data in enumerate(contents):
        (tmp_path / str(number)).write_bytes(data + hashlib.sha256(data).digest())
        assert Atlas.load(tmp_path / str(number), 40) is None
    assert Atlas.load(tmp_path) is None
    assert Atlas.load(tmp_path / "nowhere") is None


@pytest.mark.parametrize("error", [PermissionError(13, "no"), SpaceError("full")])
def test_where_nothing_can_be_written_the_map_is_given_all_the_same(tmp_path, source, monkeypatch, error):
    def refuse(self, path):
        raise error

    monkeypatch.setattr(Atlas, "save", refuse)
    assert len(Atlas.cached(tmp_path, KEY, source).positions) == 40


def test_no_image_at_all_is_a_map_too(tmp_path):
    nothing = source_of(np.zeros((0, 8), np.float32))
    for _ in range(2):
        assert Atlas.cached(tmp_path, KEY, nothing).positions.shape == (0, 2)


@pytest.mark.parametrize("key", ["", "../x", "a/b", "a.b", "x" * 129, "a\n"])
def test_a_key_that_is_no_name_is_refused(tmp_path, source, key):
    with pytest.raises(ValueError, match="key"):
        Atlas.cached(tmp_path, key, source)


def test_a_key_knows_the_order_of_the_images_and_what_they_passed_through():
    keys = [
        key_of(KEY, [b"a", b"b"]),
        key_of(KEY, [b"b", b"a"]),
        key_of(KEY, [b"ab"]),
        key_of(KEY[::-1], [b"a", b"b"]),
        key_of(KEY, [b"a", b"b"], "whitening"),
    ]
    assert len(set(keys)) == 5
    assert key_of(KEY, iter([b"a", b"b"])) == keys[0]
