"""The colours of attention and how they lie over a photograph."""

import numpy as np
import pytest

from imgret.report.overlay import VIEWS, Heat, colours, photograph_words, times, view_words
from tests.report.looks import a_look


def lightness(picture):
    """CIELAB's L* of sRGB colours [..., 3] in 0..1."""
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    y = linear @ (0.2126, 0.7152, 0.0722)
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def test_lightness_rises_evenly_from_dark_violet_to_pale_yellow():
    scale = colours(np.linspace(0, 1, 65))
    steps = np.diff(lightness(scale))
    assert steps.min() > 0.85
    assert steps.max() < 1.35
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


@pytest.mark.parametrize("view", [np.full((3, 5), 0.2), np.array([[1, 1.03]])])
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


def test_a_map_of_zeros_is_said_to_be_not_at_work():
    heat = Heat(np.zeros((3, 5)))
    assert heat.flat
    assert heat.words == "zero everywhere: not at work yet"


def ranks(values):
    return values.ravel().argsort().argsort()


@pytest.mark.parametrize("span", [(0, 3), (0.7, 1.4)])
@pytest.mark.parametrize("half", [np.s_[:, :240], np.s_[:160]])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_light_follows_the_map_and_not_the_photograph(span, half, seed):
    photo = np.zeros((320, 480, 3), np.uint8)
    photo[half] = 255
    view = np.random.default_rng(seed).uniform(*span, (10, 15))
    cells = lightness(Heat(view).over(photo) / 255).reshape(10, 32, 15, 32).mean((1, 3))
    assert np.corrcoef(ranks(cells), ranks(view))[0, 1] >= 0.9  # Spearman


def test_the_colours_of_the_photograph_do_not_show():
    red, green = np.full((40, 40, 3), (200, 0, 0), np.uint8), np.full((40, 40, 3), (0, 102, 0), np.uint8)
    view = np.array([[0.5, 1.5]])  # both colours are as light as a grey of 60
    assert np.abs(Heat(view).over(red).astype(int) - Heat(view).over(green)).max() <= 1


def test_a_faint_map_is_not_stretched_over_all_colours():
    # 0.9x and 1.1x of a scale that reaches from 0.5x to 1.5x at least
    faint = Heat(np.array([[0.9, 1.1]])).scale(2)
    strong = Heat(np.array([[0.1, 1.9]])).scale(2)
    assert np.ptp(lightness(faint)) < 20
    assert np.ptp(lightness(strong)) > 65


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
    assert dark.mean() < 60


def peak(shown):
    """The centre of mass (x, y) of what is lighter than the corner far away."""
    light = shown.sum(-1).astype(float)
    light = (light - light.min() - 0.3 * np.ptp(light)).clip(0)
    rows, columns = np.indices(light.shape) + 0.5
    return (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()


def test_cells_lie_where_their_places_are():
    view = np.zeros((8, 8))
    view[3, 4] = 1
    grey = np.full((256, 256, 3), 128, np.uint8)
    # evenly: (i + 0.5) 32; from the very corner on, as in a padded ResNet: 32 i
    assert peak(Heat(view).over(grey)) == pytest.approx((144, 112), abs=1)
    corner = (0.0, 1 / 8)
    assert peak(Heat(view).over(grey, (corner, corner))) == pytest.approx((128, 96), abs=1)
    # 250 pixels and 8 cells 32 apart: the last cell hangs over the edge
    cut = np.full((250, 250, 3), 128, np.uint8)
    places = (0.0, 32 / 250)
    assert peak(Heat(view).over(cut, (places, places))) == pytest.approx((128, 96), abs=1)


def test_the_outermost_cells_reach_to_the_edges():
    # two columns centred at 0 and at half of the width: the right half is all of the second
    shown = Heat(np.array([[0.0, 1.0]])).over(np.full((40, 80, 3), 128, np.uint8), ((0.5, 1.0), (0.0, 0.5)))
    assert len(np.unique(shown[:, 44:].reshape(-1, 3), axis=0)) == 1
    assert shown[0, 0].sum() < shown[0, 20].sum() < shown[0, 79].sum()


def test_a_view_has_the_models_words_before_those_of_everyone():
    look = a_look(words={"local": "its own"})
    assert view_words(look, "local") == "its own"
    assert view_words(look, "pooled") == VIEWS["pooled"]
    assert view_words(look, "odd") == "a view of this model's own"


def test_a_stretched_photograph_is_said_to_be_stretched():
    assert photograph_words(a_look(size=(64, 40))) == "decoded to 64 x 40 pixels"
    sliver = a_look(size=(2, 320), seen=(320, 32))
    assert photograph_words(sliver) == "decoded to 2 x 320 pixels, stretched to 32 x 320 for the model"


@pytest.mark.parametrize(("cells", "photo"), [((1, 1), (1, 1)), ((1, 7), (3, 500)), ((40, 30), (20, 10))])
def test_every_shape_is_drawn(cells, photo):
    view = np.random.default_rng(1).random(cells)
    assert Heat(view).over(np.zeros((*photo, 3), np.uint8)).shape == (*photo, 3)


@pytest.mark.parametrize(
    ("gain", "text"), [(0.001, "0x"), (0.2, "0.20x"), (1.03, "1.03x"), (3.14, "3.1x"), (41.2, "41x")]
)
def test_multiples_are_short(gain, text):
    assert times(gain) == text
