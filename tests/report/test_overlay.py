"""The colours of attention and how they lie over a photograph."""

import numpy as np
import pytest

from imgret.report.overlay import Heat, colours, times


def lightness(picture):
    """CIELAB's L* of sRGB colours [..., 3] in 0..1."""
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    y = linear @ (0.2126, 0.7152, 0.0722)
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def test_lightness_rises_evenly_from_dark_violet_to_pale_yellow():
    scale = colours(np.linspace(0, 1, 65))
    steps = np.diff(lightness(scale))
    assert steps.min() > 1.1
    assert steps.max() < 1.7
    assert scale[0, 2] > scale[0, 0] > scale[0, 1]  # violet
    assert scale[-1, 0] > scale[-1, 1] > scale[-1, 2]  # yellow


def test_extremes_are_multiples_of_the_average():
    # 0, 2, 2, 4: the average is 2
    heat = Heat(np.array([[0, 2], [2, 4]], np.float32))
    assert (heat.low, heat.high) == (0, 2)
    assert heat.words == "0x to 2.0x the average"


def test_the_unit_of_a_map_does_not_matter():
    view = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    photo = np.full((50, 70, 3), 120, np.uint8)
    assert np.array_equal(Heat(view).over(photo), Heat(view * 1024).over(photo))


def test_the_average_stands_where_its_root_lies_between_the_roots_of_the_extremes():
    # 1/4, 1/4, 1/4, 13/4 with average 1: (1 - 1/2) / (sqrt(13)/2 - 1/2) = 0.3838
    assert Heat(np.array([[1, 1, 1, 13]]) / 4).average == pytest.approx(0.3838, abs=1e-4)


@pytest.mark.parametrize("view", [np.full((3, 5), 0.2), np.zeros((3, 5)), np.array([[1, 1.03]])])
def test_a_flat_map_is_said_to_be_flat_and_leaves_a_grey_photograph(view):
    photo = np.random.default_rng(0).integers(0, 255, (30, 50, 3)).astype(np.uint8)
    heat = Heat(view)
    assert heat.flat
    assert heat.words.startswith("the same everywhere, to within ")
    shown = heat.over(photo)
    assert (shown[..., 0] == shown[..., 1]).all()
    assert (shown[..., 1] == shown[..., 2]).all()
    assert np.ptp(shown) > 100  # of the photograph nothing is lost but its colours
    with pytest.raises(ValueError, match="no scale"):
        _ = heat.average


def test_a_flat_map_says_how_flat():
    # 100 and 103: the average is 101.5, the difference 2.96 % of it
    assert Heat(np.array([[100, 103]])).words == "the same everywhere, to within 3 %"


def test_a_faint_map_is_not_stretched_over_all_colours():
    # 0.9x and 1.1x of a scale that reaches from 0.5x to 1.5x at least
    faint = Heat(np.array([[0.9, 1.1]])).scale(2)
    strong = Heat(np.array([[0.1, 1.9]])).scale(2)
    assert np.ptp(lightness(faint)) < 20
    assert np.ptp(lightness(strong)) > 85


def test_more_attention_is_lighter_at_its_own_place():
    view = np.zeros((4, 6))
    view[1, 4] = 1
    shown = Heat(view).over(np.full((80, 120, 3), 128, np.uint8)).sum(-1)
    y, x = np.unravel_index(shown.argmax(), shown.shape)
    assert (y // 20, x // 20) == (1, 4)


def test_a_smooth_map_stays_within_the_extremes_of_its_cells():
    # beside a step a bicubic curve overshoots, to less than nothing on the dark side
    view = np.repeat([[0.0, 0.0, 1.0, 1.0]], 4, 0)
    shown = Heat(view).over(np.full((64, 64, 3), 128, np.uint8))
    assert len(np.unique(shown[:, :20].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(shown[:, 44:].reshape(-1, 3), axis=0)) == 1


def test_the_photograph_can_be_read_where_nobody_looks():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::8] = 255
    view = np.zeros((4, 4))
    view[0, 0] = 1
    dark = Heat(view).over(stripes)[40:, 40:]
    assert np.ptp(dark.astype(int)) > 60
    assert dark.mean() < stripes[40:, 40:].mean() + 60


@pytest.mark.parametrize(("cells", "photo"), [((1, 1), (1, 1)), ((1, 7), (3, 500)), ((40, 30), (20, 10))])
def test_every_shape_is_drawn(cells, photo):
    view = np.random.default_rng(1).random(cells)
    assert Heat(view).over(np.zeros((*photo, 3), np.uint8)).shape == (*photo, 3)


@pytest.mark.parametrize(
    ("gain", "text"), [(0.001, "0x"), (0.2, "0.20x"), (1.03, "1.03x"), (3.14, "3.1x"), (41.2, "41x")]
)
def test_multiples_are_short(gain, text):
    assert times(gain) == text
