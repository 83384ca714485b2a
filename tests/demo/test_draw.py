"""The drawn collection."""

import csv
import hashlib

import numpy as np
import pytest
from PIL import Image

from imgret.demo.draw import SCENES, VIEWS, draw_collection
from imgret.errors import ImgretError, UnknownNameError
from imgret.tables import resolve

FEW = ("book", "plate")


def pixels_of(collection):
    """One hash over the decoded pixels of all pictures."""
    digest = hashlib.sha256()
    for path in collection.paths:
        with Image.open(collection.folder / path) as picture:
            digest.update(np.asarray(picture.convert("RGB")).tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return draw_collection(tmp_path_factory.mktemp("few"), scenes=FEW, views=3)


def test_the_same_seed_gives_the_same_pixels(few, tmp_path):
    assert pixels_of(draw_collection(tmp_path, scenes=FEW, views=3)) == pixels_of(few)


def test_another_seed_gives_other_pixels(few, tmp_path):
    assert pixels_of(draw_collection(tmp_path, scenes=FEW, views=3, seed=1)) != pixels_of(few)


def test_a_scene_does_not_depend_on_what_else_is_drawn(few, tmp_path):
    alone = draw_collection(tmp_path, scenes=["plate"], views=1)
    assert (alone.folder / "plate/view-1.jpg").read_bytes() == (few.folder / "plate/view-1.jpg").read_bytes()


def test_drawing_again_draws_nothing(few):
    stamp = (few.folder / few.paths[0]).stat().st_mtime_ns
    again = draw_collection(few.labels.parent, scenes=FEW, views=3)
    assert (few.drawn, again.drawn) == (6, 0)
    assert (few.folder / few.paths[0]).stat().st_mtime_ns == stamp


def test_a_lost_picture_is_drawn_again(tmp_path):
    made = draw_collection(tmp_path, scenes=["book"], views=2)
    lost = made.folder / made.paths[1]
    before = lost.read_bytes()
    lost.unlink()
    draw_collection(tmp_path, scenes=["book"], views=2)
    assert lost.read_bytes() == before


def test_labels_name_every_picture_and_its_scene(few):
    with open(few.labels, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"] for line in lines] == few.paths
    assert {line["label"] for line in lines} == set(FEW)
    assert all((few.folder / line["path"]).is_file() for line in lines)


def test_progress_tells_of_every_scene(tmp_path):
    told = []
    draw_collection(tmp_path, scenes=FEW, views=1, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_an_unknown_scene_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean plate"):
        draw_collection(tmp_path, scenes=["book", "plat"])
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ImgretError, match="is a file"):
        draw_collection(tmp_path / "taken")


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_is_rich(scene):
    """Texture everywhere: blocks of 8 x 8 pixels that are one colour are rare."""
    picture = resolve(SCENES[scene].target)(np.random.default_rng(0)).convert("L")
    grey = np.asarray(picture, np.float32)
    height, width = grey.shape[0] // 8 * 8, grey.shape[1] // 8 * 8
    blocks = grey[:height, :width].reshape(height // 8, 8, width // 8, 8)
    assert (blocks.std(axis=(1, 3)) > 0.5).mean() > 0.8
    assert grey.std() > 25


@pytest.mark.slow
def test_the_whole_collection_is_twelve_scenes_of_eight_views_in_mixed_shapes(tmp_path):
    made = draw_collection(tmp_path)
    files = sorted(made.folder.rglob("*.jpg"))
    assert len(files) == len(SCENES) * VIEWS == 12 * 8
    shapes = set()
    for path in files:
        with Image.open(path) as picture:
            shapes.add(picture.size)
    assert any(width > height for width, height in shapes)
    assert any(width < height for width, height in shapes)
    assert len(shapes) >= 4
