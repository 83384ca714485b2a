"""What each cell brings to a cosine: it sums, it says where, and it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from imgret.extraction.attribution import Attribution, Between, NoAttribution, attribute, between, spread
from imgret.extraction.describe import Describer
from imgret.extraction.job import ExtractJob
from imgret.extraction.loading import load_for_job
from imgret.models import DEFAULT_MODEL
from imgret.whitening.transform import Whitening
from tests.models.tiny import tiny
from tests.toy import MeanColour

CPU = torch.device("cpu")
SEEDS = range(3)


@pytest.fixture(scope="module")
def shipped() -> Describer:
    job = ExtractJob(images=(), output=Path("unused"), model=DEFAULT_MODEL, device="cpu", precision="fp32")
    return load_for_job(job, print).describer


def drawn(seed: int, height: int = 224, width: int = 160) -> np.ndarray:
    """Twelve discs, boxes and striped bands of many colours."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = random.integers(0, 256, 3)
    for _ in range(12):
        down, across, size = np.abs(y - random.uniform(0, height)), np.abs(x - random.uniform(0, width)), 10
        size += random.uniform(0, 35)
        disc = down**2 + across**2 < size**2
        box = (down < size) & (across < size / 2)
        stripes = (down < size / 2) & (across < size) & ((x + y) // 8 % 2 == 0)
        picture[(disc, box, stripes)[random.integers(3)]] = random.integers(0, 256, 3)
    return picture


def sharing_the_left_half(seed: int) -> tuple[np.ndarray, np.ndarray]:
    left = drawn(seed)
    return np.hstack([left, drawn(100 + seed)]), np.hstack([left, drawn(200 + seed)])


def some_whitening(dim: int = 512, to: int = 64) -> Whitening:
    random = np.random.default_rng(0)
    return Whitening(random.normal(0, 0.03, dim), random.normal(0, 1, (to, dim)), np.empty(0, np.uint64), {})


def total(one: Attribution) -> float:
    return float(one.cells.sum(dtype=np.float64)) + one.rest


def found(answer):
    assert isinstance(answer, (Attribution, Between)), answer
    return answer


class ByPlace(MeanColour):
    """The mean colour as the sum over pixels that it is."""

    def parts(self, images):
        height, width = images.shape[2:]
        return images.permute(0, 2, 3, 1) / (height * width), torch.zeros(3)


@pytest.mark.parametrize("whitening", [None, some_whitening()], ids=["as it is", "whitened"])
def test_the_cells_and_the_rest_are_the_cosine(shipped, whitening):
    query, hit = drawn(0, 160, 224), drawn(1, 100, 211)
    rows = np.concatenate([shipped(query[None]), shipped(hit[None])])
    if whitening is not None:
        rows = whitening.apply(rows)
    one = found(attribute(shipped, query, rows[1], whitening))
    assert one.cells.dtype == np.float32
    assert one.cells.shape == (5, 7)
    assert one.score == pytest.approx(float(rows[0] @ rows[1]), abs=1e-5)
    assert total(one) == pytest.approx(one.score, abs=1e-5)
    both = found(between(shipped, query, hit, whitening))
    assert both.query.cells == pytest.approx(one.cells, abs=1e-5)
    assert both.hit.cells.shape == (4, 7)
    assert both.matrix is None
    for side in (both.query, both.hit):
        assert total(side) == pytest.approx(side.score, abs=1e-5)
        assert side.score == pytest.approx(one.score, abs=1e-5)


@pytest.mark.parametrize("whitening", [None, some_whitening()], ids=["as it is", "whitened"])
def test_the_pairs_of_cells_and_what_is_in_no_pair_are_the_cosine(shipped, whitening):
    both = found(between(shipped, drawn(0, 160, 224), drawn(1, 100, 211), whitening, matrix=True))
    assert both.matrix.shape == (5 * 7, 4 * 7)
    assert both.matrix.dtype == np.float32
    assert both.matrix.sum(dtype=np.float64) + both.apart == pytest.approx(both.query.score, abs=1e-5)


def test_a_row_of_pairs_is_a_cell_but_for_what_it_brings_with_the_rest_of_the_other_image(shipped):
    query, hit = drawn(0, 160, 224), drawn(1, 100, 211)
    both, parts = found(between(shipped, query, hit, matrix=True)), shipped.decompose(hit)
    rest = parts.rest / np.linalg.norm(parts.parts.sum((0, 1)) + parts.rest)
    with_rest = found(attribute(shipped, query, rest)).cells * np.linalg.norm(rest)  # a direction is taken as it points
    assert both.matrix.sum(1) + with_rest.ravel() == pytest.approx(both.query.cells.ravel(), abs=1e-5)
    back = found(between(shipped, hit, query, matrix=True))
    assert back.matrix == pytest.approx(both.matrix.T, abs=1e-6)


def test_a_model_of_pixels_can_be_checked_by_hand():
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = (255, 0, 0)
    picture[:, 32:] = (0, 0, 255)
    one = found(attribute(Describer(ByPlace(), CPU), picture, np.array([2, 0, 0])))
    # the descriptor is (1, 0, 1) / sqrt(2), the other (1, 0, 0) once it is unit length; 1024 pixels share 1 / sqrt(2)
    assert one.score == pytest.approx(0.5**0.5)
    assert one.cells[:, :32] == pytest.approx(0.5**0.5 / 1024)
    assert not one.cells[:, 32:].any()
    assert one.rest == 0
    assert one.places == ((0.5 / 32, 1 / 32), (0.5 / 64, 1 / 64))


def test_a_descriptor_of_zeros_brings_nothing():
    black, grey = np.zeros((32, 64, 3), np.uint8), np.full((32, 64, 3), 99, np.uint8)
    both = found(between(Describer(ByPlace(), CPU), black, grey, matrix=True))
    assert both.query.score == both.hit.score == both.apart == 0
    assert not both.query.cells.any()
    assert not both.matrix.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_half_that_two_pictures_share_brings_more_to_both_and_finds_itself(shipped, seed):
    both = found(between(shipped, *sharing_the_left_half(seed), matrix=True))
    for side in (both.query, both.hit):
        first, step = side.places[1]
        left = first + step * np.arange(side.cells.shape[1]) < 0.5
        assert side.cells[:, left].sum() > side.cells[:, ~left].sum() + 0.1
    best = both.matrix.argmax(1).reshape(both.query.cells.shape)  # the cell of the hit that goes best with each
    same = np.arange(best.size).reshape(best.shape)
    inner = slice(0, 4)  # of 10 columns of cells; the fifth sees past the middle
    assert (best == same)[:, inner].mean() > 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_without_its_best_cells_a_picture_loses_more_than_without_as_many_others(shipped, seed):
    query, hit = sharing_the_left_half(seed)
    other = shipped(hit[None])[0]
    one = found(attribute(shipped, query, other))
    (top, down), (left, across) = one.places
    rows, columns = one.cells.shape

    def score_without(cells):
        grey = query.copy()
        for row, column in zip(*np.unravel_index(cells, (rows, columns)), strict=True):
            y, x = round((top + down * row) * query.shape[0]), round((left + across * column) * query.shape[1])
            grey[max(0, y - 16) : y + 16, max(0, x - 16) : x + 16] = 128
        return float(shipped(grey[None])[0] @ other)

    fifth, random = one.cells.size // 5, np.random.default_rng(0)
    best = score_without(np.argsort(-one.cells, axis=None)[:fifth])
    others = [score_without(random.choice(one.cells.size, fifth, replace=False)) for _ in range(4)]
    assert best < np.mean(others) - 0.05 < one.score


def test_what_is_for_and_what_is_against_are_drawn_apart_and_the_rest_is_in_neither():
    cells = np.array([[0.5, -0.25], [0.0, 0.125]], np.float32)
    towards, away = spread(Attribution(cells, -0.075, 0.3, ((0.25, 0.5), (0.25, 0.5))))
    assert towards.tolist() == [[0.5, 0], [0, 0.125]]
    assert away.tolist() == [[0, 0.25], [0, 0]]


def test_half_precision_of_the_describer_changes_no_attribution():
    pixels, other = drawn(0, 70, 90), np.ones(512)
    exact, rough = (
        found(attribute(Describer(tiny("glam"), CPU, precision), pixels, other)) for precision in ("fp32", "bf16")
    )
    assert np.array_equal(exact.cells, rough.cells)


def test_cells_lie_where_those_of_the_trunk_do_though_it_is_folded(shipped):
    # measured on this trunk: a cell is centred a quarter of its 32 pixels past its beginning
    one = found(attribute(shipped, drawn(0, 160, 224), np.ones(512)))
    assert one.places == ((8 / 160, 32 / 160), (8 / 224, 32 / 224))


def test_several_scales_have_no_exact_parts_and_say_so():
    describer = Describer(tiny("glam"), CPU, scales=(1.0, 0.5))
    answer = attribute(describer, drawn(0, 70, 90), np.ones(512))
    assert answer == NoAttribution(
        "the descriptors were made at scales 1, 0.5, and a place has an exact part at scale 1 alone"
    )
    assert between(describer, drawn(0, 70, 90), drawn(1, 70, 90)) == answer


def test_a_model_without_parts_says_so():
    answer = attribute(Describer(MeanColour(), CPU), drawn(0, 70, 90), np.ones(3))
    assert answer == NoAttribution("the descriptor of this model (MeanColour) is no sum over the places of an image")


def test_a_descriptor_of_another_dimension_is_a_callers_mistake():
    with pytest.raises(ValueError, match=r"must be \[3\], got \[4\]"):
        attribute(Describer(ByPlace(), CPU), drawn(0, 70, 90), np.ones(4))
