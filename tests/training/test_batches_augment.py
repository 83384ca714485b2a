from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from imgret.errors import UnknownNameError
from imgret.training.batches import AUGMENTATIONS
from imgret.training.batches.augment import NONE, PHONE, PHONE_FLIP, SOFT, augmentation_called
from imgret.training.batches.light import as_it_is, phone_light, soft_light
from imgret.training.batches.views import WHOLE, View, phone_view, seen, soft_window
from tests.pictures import textured


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(seed: int = 1, width: int = 100, height: int = 80) -> np.ndarray:
    return np.asarray(textured(seed, width, height))


def dot(x: int, y: int, width: int = 100, height: int = 80) -> torch.Tensor:
    """A black picture with a white square of 5 x 5 about pixel (x, y)."""
    found = torch.zeros(3, height, width, dtype=torch.uint8)
    found[:, y - 2 : y + 3, x - 2 : x + 3] = 255
    return found


def centre(pixels: torch.Tensor) -> tuple[float, float]:
    """(x, y) of the brightness's centre, in pixels from the upper left corner of the picture."""
    weight = pixels.float().mean(0)
    xs, ys = torch.arange(weight.shape[1]) + 0.5, torch.arange(weight.shape[0]) + 0.5
    return float((weight.sum(0) * xs).sum() / weight.sum()), float((weight.sum(1) * ys).sum() / weight.sum())


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("size", [(192, 128), (32, 48)])
def test_every_augmentation_gives_pixels_of_the_batch_size(name, size):
    for seed in range(8):
        sample = augmentation_called(name)(picture(), size, generator(seed))
        pixels, heat_map = sample.pixels, sample.heat_map
        assert pixels.shape == (3, size[1], size[0])
        assert pixels.dtype == torch.uint8
        assert pixels.is_contiguous()
        assert heat_map is None


def test_a_misspelt_augmentation_is_answered_with_the_nearest():
    assert augmentation_called("soft") is SOFT
    with pytest.raises(UnknownNameError, match="did you mean phone"):
        augmentation_called("phones")


def test_none_warps_the_whole_image_without_padding():
    pixels = NONE(np.full((80, 100, 3), 200, np.uint8), (64, 64), generator()).pixels
    assert (pixels == 200).all()
    # the middle of pixel 25 of 100 is at 25.5, so at 25.5 * 64 / 100 = 16.32; 60.5 * 64 / 80 = 48.4
    assert centre(seen(dot(25, 60), WHOLE, (64, 64))) == pytest.approx((16.32, 48.4), abs=0.05)


def test_none_leaves_an_image_of_the_right_size_as_it_is():
    pixels = NONE(picture(), (100, 80), generator()).pixels
    assert (pixels.permute(1, 2, 0).numpy() == picture()).all()


def test_a_window_inside_the_image_puts_a_point_where_the_sum_says():
    # rows 8 to 72 and columns 10 to 90 of 80 x 100, drawn as 160 wide and 128 high: twice as large
    view = View(top=0.1, left=0.1, height=0.8, width=0.8)
    # x (30.5 - 10) * 2 = 41, y (50.5 - 8) * 2 = 85
    assert centre(seen(dot(30, 50), view, (160, 128))) == pytest.approx((41, 85), abs=0.05)


def test_a_window_over_the_edges_shows_black_outside():
    # 10 rows above and below, 10 columns left of the image and none right: 100 x 110 at one to one
    view = View(top=-0.125, left=-0.1, height=1.25, width=1.1)
    pixels = seen(torch.full((3, 80, 100), 200, dtype=torch.uint8), view, (110, 100))
    inside = torch.zeros(100, 110, dtype=torch.bool)
    inside[10:90, 10:] = True
    assert (pixels[:, inside] == 200).all()
    assert (pixels[:, ~inside] == 0).all()
    # 30.5 + 10, 50.5 + 10
    assert centre(seen(dot(30, 50), view, (110, 100))) == pytest.approx((40.5, 60.5), abs=0.05)


def test_a_flip_mirrors_what_the_window_shows():
    view = View(left=0.0, width=0.5, flip=True)
    # columns 0 to 50; 30.5 of them is 50 - 30.5 from the other side
    assert centre(seen(dot(30, 50), view, (50, 80))) == pytest.approx((19.5, 50.5), abs=0.05)


def test_corners_stretch_the_part_they_enclose():
    # the middle half of both sides, so twice as large from (25, 20) on
    view = View(corners=((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)))
    found = seen(dot(40, 30), view, (100, 80))
    # 2 * (40.5 - 25) = 31, 2 * (30.5 - 20) = 21
    assert centre(found) == pytest.approx((31, 21), abs=0.1)


def test_corners_may_be_any_four_points():
    corners = ((0.1, 0.05), (0.95, 0.1), (0.9, 0.95), (0.05, 0.9))
    # a dot on the second corner, (95, 8), comes to the upper right: of its 5 x 5 pixels about a quarter stays there
    found = seen(dot(94, 8), View(corners=corners), (100, 80))[0].float()
    assert found[:6, 94:].sum() > 0.95 * found.sum() > 0


def test_a_soft_window_is_08_to_12_of_either_side_and_lies_in_or_about_the_image():
    views = [soft_window(generator(seed)) for seed in range(400)]
    heights, widths = np.array([(view.height, view.width) for view in views]).T
    for sides in (heights, widths):
        assert 0.8 <= sides.min() < 0.81
        assert 1.19 < sides.max() <= 1.2
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.15  # independent: 0 +- 1/sqrt(400) = 0.05
    for start, side in [(view.top, view.height) for view in views] + [(view.left, view.width) for view in views]:
        assert min(0, 1 - side) <= start <= max(0, 1 - side)
    # 0 at one end of where it fits and 1 at the other, evenly: 1/2 on average, 0 to 0.1 every tenth time
    for places in (
        [view.top / (1 - view.height) for view in views],
        [view.left / (1 - view.width) for view in views],
    ):
        assert np.mean(places) == pytest.approx(0.5, abs=0.05)
        assert np.mean(np.array(places) < 0.1) == pytest.approx(0.1, abs=0.05)
    assert not any(view.flip or view.corners for view in views)


def test_soft_light_is_brightness_within_a_tenth():
    grey = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    levels = [int(soft_light(grey, generator(seed)).unique()) for seed in range(200)]
    assert min(levels) in (90, 91)
    assert max(levels) in (108, 109, 110)


def test_a_phone_sees_a_fifth_to_all_of_the_image_within_its_edges():
    views = [phone_view(generator(seed)) for seed in range(400)]
    areas = [view.height * view.width for view in views]
    assert 0.2 <= min(areas) < 0.22
    assert 0.9 < max(areas) <= 1
    for view in views:
        assert 0 <= view.top <= view.top + view.height <= 1 + 1e-9
        assert 0 <= view.left <= view.left + view.width <= 1 + 1e-9
        assert not view.flip


def test_a_phone_is_tilted_both_ways_up_to_15_degrees_and_keeps_the_image_the_right_way_up():
    angles = []
    for seed in range(200):
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = phone_view(generator(seed)).corners
        assert min(x1, x2) > max(x0, x3)
        assert min(y2, y3) > max(y0, y1)
        angles.append(np.rad2deg(np.arctan2(y1 - y0, x1 - x0)))
    # 15 degrees of turning, and one corner up to 0.1 lower over a side of at least 0.8: 7.1 degrees
    assert -22.2 < min(angles) < -10
    assert 10 < max(angles) < 22.2


def test_only_the_flipping_phone_flips_and_only_every_other_time():
    flips = [PHONE_FLIP.view(generator(seed)).flip for seed in range(100)]
    assert 30 < sum(flips) < 70
    assert not any(PHONE.view(generator(seed)).flip for seed in range(100))


def test_phone_light_moves_nothing():
    # a white square far from the edges stays in the middle, whatever happens to its brightness
    for seed in range(30):
        start = torch.full((3, 64, 64), 40, dtype=torch.uint8)
        start[:, 28:36, 28:36] = 230
        found = phone_light(start, generator(seed)).float().mean(0)
        bright = found[24:40, 24:40]
        assert bright[6:10, 6:10].mean() > bright[:2].mean()


def test_phone_light_does_each_of_its_things_now_and_then(monkeypatch):
    from imgret.training.batches import light

    done = []

    def counted(home, name):
        plain = getattr(home, name)
        monkeypatch.setattr(home, name, lambda *given: (done.append(name), plain(*given))[1])

    counted(light.F, "adjust_saturation")
    for name in ("_exposed", "_blurred", "_noisy", "_as_jpeg", "_cut_out"):
        counted(light, name)
    start = torch.from_numpy(picture().copy()).permute(2, 0, 1).contiguous()
    for seed in range(200):
        phone_light(start, generator(seed))
    share = {name: done.count(name) / 200 for name in done}
    expected = {"adjust_saturation": 0.5, "_blurred": 0.3, "_noisy": 0.3, "_as_jpeg": 0.4, "_cut_out": 0.3}
    assert share == pytest.approx({"_exposed": 1.0, **expected}, abs=0.1)  # 3 standard deviations of 200 throws


def test_the_smallest_picture_survives_every_light():
    tiny = torch.zeros(3, 1, 1, dtype=torch.uint8)
    for seed in range(50):
        assert phone_light(tiny, generator(seed)).shape == (3, 1, 1)


@pytest.mark.parametrize("augmentation", [SOFT, PHONE_FLIP], ids=["soft", "phone"])
def test_a_heat_map_of_any_resolution_is_seen_through_the_window_of_its_image(augmentation):
    # the image is its own map, twice as fine; light is left out to compare what is seen
    plain = type(augmentation)(augmentation.view, as_it_is, 1)
    unlike = []
    for seed in range(20):
        grey = picture(seed)[:, :, 0]
        twice = np.repeat(np.repeat(grey, 2, 0), 2, 1)
        sample = plain(np.stack([grey] * 3, 2), (64, 48), generator(seed), twice)
        pixels, heat_map = sample.pixels, sample.heat_map
        assert heat_map.shape == (1, 48, 64)
        assert heat_map.dtype == torch.float32
        assert 0 <= heat_map.min() <= heat_map.max() <= 1 + 1e-6
        # windows are rounded to pixels, which differ between the two: black edges may lie a pixel apart
        assert (heat_map * 255 - pixels[:1].float()).abs().mean() < 5
        unlike.append((seen(torch.from_numpy(grey.copy())[None], WHOLE, (64, 48)).float() - pixels[:1]).abs().mean())
    assert np.mean(unlike) > 10


def test_a_sample_depends_on_its_generator_and_on_nothing_else():
    for augmentation in (SOFT, PHONE_FLIP):
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        first = [augmentation(picture(), (64, 64), generator(seed)).pixels for seed in range(20)]
        assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        torch.manual_seed(5)
        again = [augmentation(picture(), (64, 64), generator(seed)).pixels for seed in range(20)]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(first, again[1:], strict=False))


def test_the_picture_given_is_not_changed():
    given = picture()
    before = given.copy()
    for seed in range(20):
        PHONE(given, (100, 80), generator(seed))
        NONE(given, (100, 80), generator(seed)).pixels.zero_()
    assert (given == before).all()


def test_a_window_generator_decides_what_is_seen_and_nothing_else():
    def sample(window: int, light: int):
        found = augmentation_called("phone-glare")
        return found(picture(), (64, 64), generator(light), window=generator(window), backdrop=picture())

    one, other_light, other_window = sample(1, 1), sample(1, 2), sample(2, 1)
    assert torch.equal(one.plain, other_light.plain)
    assert not torch.equal(one.pixels, other_light.pixels)
    assert not torch.equal(one.plain, other_window.plain)


def test_scenes_lie_on_a_backdrop_about_as_often_as_they_say():
    found = augmentation_called("phone-scenes")
    placed = [found(picture(), (48, 48), generator(seed), backdrop=picture()).placed for seed in range(200)]
    assert 0.55 < sum(placed) / 200 < 0.75  # 0.65 of them lie in place; a deviation of 0.034
    assert all(found(picture(), (48, 48), generator(seed)).placed for seed in range(20))  # no backdrop, no scene
