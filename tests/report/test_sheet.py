"""The sheet: panels, words, balance."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from imgret.report.sheet import draw_sheet, drawable, shortened, write_sheet
from tests.report.looks import a_look

PAPER = (246, 245, 242)


def look(count, name="a.jpg", size=(96, 64)):
    """A look with so many views."""
    random = np.random.default_rng(0)
    names = ("local", "global", "pooled", "gate")[:count]
    return a_look(name, size, {name: random.random((4, 6)) for name in names})


def panels(sheet):
    """How many pictures stand side by side in the first row of a sheet without caption."""
    shown = (np.asarray(sheet)[130:220] != PAPER).any((0, 2))
    return int(np.diff(shown.astype(int), prepend=0).clip(0).sum())


@pytest.mark.parametrize(("count", "columns"), [(1, 2), (2, 3), (3, 2)])
def test_a_photograph_and_its_views_stand_side_by_side_and_leave_no_place_empty(count, columns):
    assert panels(draw_sheet(look(count, size=(600, 400)))) == columns


def test_a_panorama_is_stacked_and_a_tower_stands_in_a_row():
    assert panels(draw_sheet(look(2, size=(400, 40)))) == 1
    assert panels(draw_sheet(look(2, size=(50, 200)))) == 3


@pytest.mark.parametrize("size", [(1, 1), (2000, 3), (3, 2000), (96, 64), (50, 200), (400, 40)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_shape_of_photograph_gives_a_sheet_of_decent_shape(size, count):
    sheet = draw_sheet(look(count, size=size), "gem", True)
    assert 0.4 < sheet.width / sheet.height < 3.2
    assert max(sheet.size) < 5000


def test_nothing_touches_the_edge():
    sheet = np.asarray(draw_sheet(look(4, "m" * 500), "w" * 500, True)).copy()
    sheet[30:-20, 40:-40] = PAPER
    assert (sheet == PAPER).all()


def test_untrained_weights_are_said():
    plain = draw_sheet(look(1), "gem")
    warned = draw_sheet(look(1), "gem", True)
    assert warned.height > plain.height
    red = np.asarray(warned)[:, :, 0].astype(int) - np.asarray(warned)[:, :, 1] > 110
    assert red[100:170].any()


def test_a_flat_map_has_words_and_no_scale():
    scaled = np.asarray(draw_sheet(a_look(views={"local": np.array([[1.0, 3.0]])})))
    flat = np.asarray(draw_sheet(a_look(views={"local": np.array([[1.0, 1.0]])})))
    assert scaled.shape == flat.shape
    below = slice(-110, None)  # where the scale is
    assert np.ptp(scaled[below].astype(int), -1).max() > 100
    assert np.ptp(flat[below].astype(int), -1).max() < 20


def test_long_names_lose_their_middle():
    font = ImageFont.load_default(20)
    name = "a_holiday_in_the_mountains_" * 9 + "0042.jpg"
    short = shortened(name, font, 300)
    assert font.getlength(short) <= 300
    assert font.getlength(short) > 280
    assert short.startswith("a_holi")
    assert short.endswith("0042.jpg")
    assert shortened("0042.jpg", font, 300) == "0042.jpg"


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        (b"caf\xe9\n.jpg".decode("utf-8", "surrogateescape"), r"caf\xe9\x0a.jpg"),
        ("Köln.jpg", "Koln.jpg"),  # Pillow's own font has no accents
    ],
)
def test_names_the_font_cannot_draw_are_drawn_as_plain_signs(name, drawn):
    assert drawable(name) == drawn
    draw_sheet(look(1, name))


def test_the_file_is_a_whole_png(tmp_path):
    path = tmp_path / "out.png"
    write_sheet(path, look(1), caption="gem")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.tobytes() == draw_sheet(look(1), "gem").tobytes()
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]


def test_a_failure_leaves_the_old_sheet(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    with pytest.raises(AttributeError):
        write_sheet(path, a_look(views={"local": None}))
    assert path.read_bytes() == b"old"
