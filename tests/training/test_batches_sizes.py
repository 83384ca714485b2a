from __future__ import annotations

import numpy as np
import pytest

from imgret.errors import UnknownNameError
from imgret.training.batches.sizes import TEMPLATES, Template, scaled, size_group, template_called


def test_an_aspect_on_an_edge_belongs_to_the_taller_group():
    # the group is the number of edges 0.67, 0.77, 1.33, 1.5 at or below the aspect
    below = [size_group(np.nextafter(edge, 0)) for edge in (0.67, 0.77, 1.33, 1.5)]
    at = [size_group(edge) for edge in (0.67, 0.77, 1.33, 1.5)]
    assert below == [0, 1, 2, 3]
    assert at == [1, 2, 3, 4]


def test_many_aspects_are_grouped_at_once_and_an_unknown_one_has_no_group():
    # 480/640 = 0.75, 1/1, 640/480 = 1.33..., 3/2, 1/2
    found = size_group(np.array([480 / 640, 1, 640 / 480, 3 / 2, 1 / 2, np.nan]))
    assert found.tolist() == [1, 2, 3, 4, 0, -1]
    assert found.dtype == np.int64


def test_the_published_templates_are_as_published():
    assert TEMPLATES["S2"].sizes == ((512, 352), (512, 384), (448, 448), (384, 512), (352, 512))
    assert TEMPLATES["SS2"].sizes == ((480, 320), (480, 352), (384, 384), (352, 480), (320, 480))
    assert TEMPLATES["SM2"].sizes == ((736, 512), (704, 544), (608, 608), (544, 704), (512, 736))
    assert TEMPLATES["M2"].sizes == ((800, 544), (800, 608), (704, 704), (608, 800), (544, 800))
    assert TEMPLATES["L2"].sizes == ((800, 544), (800, 608), (800, 800), (608, 800), (544, 800))


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_group_has_a_size_of_its_own_that_grows_taller_from_group_to_group(name):
    aspects = [height / width for width, height in TEMPLATES[name].sizes]
    assert aspects == sorted(set(aspects))


@pytest.mark.parametrize(("name", "side"), [("T2", 160), ("XS2", 224)])
def test_our_small_templates_are_s2_at_a_smaller_area(name, side):
    assert scaled(TEMPLATES["S2"], side) == TEMPLATES[name]
    for width, height in TEMPLATES[name].sizes:
        assert abs(width * height / side**2 - 1) < 0.09


def test_a_scaled_template_keeps_shapes_and_rounds_sides_to_the_multiple():
    # 512 x 352 stretches a side by sqrt(512/352) = 1.206: 320 * 1.206 = 385.9 -> 12 * 32, 320 / 1.206 = 265.3 -> 8 * 32
    assert scaled(TEMPLATES["S2"], 320, 32).sizes[0] == (384, 256)
    assert scaled(TEMPLATES["S2"], 320, 32).sizes[2] == (320, 320)
    assert scaled(TEMPLATES["S2"], 320, 32).sizes[4] == (256, 384)
    assert min(min(size) for size in scaled(TEMPLATES["S2"], 16).sizes) == 16


def test_a_side_below_the_multiple_and_a_template_of_other_groups_are_refused():
    with pytest.raises(ValueError, match="at least 32"):
        scaled(TEMPLATES["S2"], 31, 32)
    with pytest.raises(ValueError, match="5 sizes"):
        Template(((32, 32),))


def test_a_misspelt_template_is_answered_with_the_nearest():
    assert template_called("S2") is TEMPLATES["S2"]
    with pytest.raises(UnknownNameError, match="did you mean SM2"):
        template_called("SM")
