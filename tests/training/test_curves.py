import io

import numpy as np
import pytest
from PIL import Image

from imgret.training.axes import axis, round_step
from imgret.training.curves import _BEST, _CURVE, _score, best_of, draw_curves, smoothed, write_curves
from imgret.training.schedule import rate_factor

RUN = [
    record
    for step in range(10, 1001, 10)
    for record in (
        {"step": step, "epoch": step / 100, "loss": 0.2 + 10 * 0.99**step, "lr": 0.1 * rate_factor(step, 1000, 100)},
        {"step": step, "epoch": step / 100, "score": 0.4 - abs(step - 700) / 5000},
    )
    if "loss" in record or step % 100 == 0
]


def pixels_of(picture, colour):
    """(rows, columns) of the pixels nearly of a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.nonzero(np.abs(np.asarray(picture).astype(int) - wanted).max(2) < 12)


@pytest.mark.parametrize(
    ("least", "step"),
    [(0.9, 1), (1, 1), (1.1, 2), (2.1, 5), (5.1, 10), (12, 20), (0.03, 0.05), (0.1, 0.1), (3e-7, 5e-7)],
)
def test_steps_between_ticks_are_round(least, step):
    assert round_step(least) == step


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 9.7], (0, 2, 4, 6, 8, 10)),
        ([21.4, 43.9], (20, 25, 30, 35, 40, 45)),
        ([0.1, 0.6], (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
        ([-3.0, 4.0], (-4, -2, 0, 2, 4)),
    ],
)
def test_a_linear_axis_ends_on_round_ticks_around_its_values(values, ticks):
    found = axis(values)
    assert found.ticks == ticks
    assert (found.low, found.high) == (ticks[0], ticks[-1])
    assert not found.log


def test_places_on_a_linear_axis_are_even():
    scale = axis([0.0, 10.0])
    assert [scale.place(value) for value in (0, 2.5, 10, -1, 11)] == [0, 0.25, 1, 0, 1]


def test_an_axis_from_zero_begins_there():
    assert axis([8.0, 9.0], from_zero=True).low == 0


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_curve_that_never_changes_has_an_axis_too(value):
    scale = axis([value, value])
    assert 0 <= scale.place(value) <= 1
    assert len(scale.ticks) >= 2


def test_a_log_axis_is_for_positive_values_far_apart():
    assert axis([0.5, 20.0], log=True).log
    assert not axis([2.0, 16.0], log=True).log  # eight times is not far
    assert not axis([0.0, 20.0], log=True).log
    assert not axis([-1.0, 20.0], log=True).log
    assert not axis([0.5, 20.0]).log


def test_a_log_axis_has_ones_twos_and_fives_and_places_factors_evenly():
    scale = axis([0.6, 9.0], log=True)
    assert scale.ticks == (0.5, 1, 2, 5, 10)
    assert scale.place(5.0) - scale.place(0.5) == pytest.approx(scale.place(10.0) - scale.place(1.0))
    assert axis([1e-5, 90.0], log=True).ticks == (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100)


def test_ticks_of_a_log_axis_lie_within_it():
    for low in (0.011, 0.3, 1.0, 7.7):
        for span in (9, 30, 1e4, 1e9):
            scale = axis([low, low * span], log=True)
            assert 2 <= len(scale.ticks) <= 8
            assert scale.low <= low <= low * span <= scale.high
            assert all(0 <= scale.place(tick) <= 1 for tick in scale.ticks)


@pytest.mark.parametrize(
    ("tick", "text"), [(0.0, "0"), (45.0, "45"), (0.3, "0.3"), (0.001, "0.001"), (5e-5, "5e-5"), (1e-12, "1e-12")]
)
def test_ticks_are_written_as_people_write_them(tick, text):
    assert axis([0.0, 1.0]).label(tick) == text


def test_smoothing_is_the_mean_of_neighbours_on_both_sides():
    # over 3: (1 + 2) / 2, (1 + 2 + 6) / 3, (2 + 6 + 3) / 3, (6 + 3) / 2
    assert smoothed([1, 2, 6, 3], 3) == pytest.approx([1.5, 3, 11 / 3, 4.5])
    assert smoothed([1, 2, 6, 3], 1) == [1, 2, 6, 3]
    assert smoothed([4, 5], 0) == [4, 5]


def test_the_best_is_the_first_highest_score():
    scores = [None, 0.1, 0.3, 0.3, 0.2]
    records = [{"step": step, "epoch": step, "score": score} for step, score in enumerate(scores)]
    assert best_of([{"step": 9, "loss": 5.0}, *records])["step"] == 2
    assert best_of([{"step": 9, "loss": 5.0}]) is None


def test_the_best_validation_is_marked_where_it_is():
    picture = draw_curves(RUN)
    rows, columns = pixels_of(picture, _BEST)
    stem = columns[rows == rows.max() - 10]  # of the line from the point down to the steps
    # steps 0 to 1000 lie between 152 and 1152; the best is at step 700
    assert np.abs(stem - (152 + 700)).max() <= 3
    low = draw_curves([{**record, "score": -record["score"]} if "score" in record else record for record in RUN])
    rows, columns = pixels_of(low, _BEST)
    assert np.abs(columns[rows == rows.max() - 10] - (152 + 100)).max() <= 3  # furthest from 700


def test_scores_are_percentages_on_the_picture():
    panel = _score([{"step": 10, "epoch": 1, "score": 0.5}, {"step": 20, "epoch": 2, "score": 0.25}])
    assert panel.points == [(10, 50.0), (20, 25.0)]
    assert panel.words == "best 50.0 after 1 epoch"


def test_the_loss_falls_from_left_to_right_and_the_rate_rises_first():
    picture = np.asarray(draw_curves(RUN))
    rows, columns = pixels_of(picture, _CURVE)
    loss, rate = rows < 500, (rows > 500) & (rows < 740)

    def height(part, step):
        return rows[part & (np.abs(columns - (152 + step)) <= 1)].mean()

    assert height(loss, 100) + 100 < height(loss, 900)
    assert height(rate, 100) + 60 < height(rate, 20)
    assert height(rate, 100) + 60 < height(rate, 900)


def test_a_run_without_validation_has_a_lower_picture():
    training = [record for record in RUN if "loss" in record]
    assert draw_curves(training).height < draw_curves(RUN).height
    assert draw_curves(training).width == draw_curves(RUN).width == 1200


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"step": 0, "epoch": 0, "score": 0.1}],
        [{"step": 5, "epoch": 1, "loss": 2.0, "lr": 0.0}],
        [{"step": 5, "epoch": 1, "loss": None, "lr": 0.1}, {"step": 6, "epoch": 1, "loss": 0.0}],
        [{"step": step, "epoch": step, "loss": 1e-30 * step, "lr": 1e-9} for step in range(1, 4)],
    ],
)
def test_the_first_moments_of_a_run_can_be_drawn(records):
    assert draw_curves(records).width == 1200


def test_words_change_with_the_run():
    def differs(a, b):
        return np.asarray(draw_curves(a, "x")).tobytes() != np.asarray(draw_curves(b, "x")).tobytes()

    one = {"step": 10, "epoch": 1, "score": 0.5}
    assert not differs([one], [dict(one)])
    assert differs([one], [{**one, "epoch": 2}])
    assert np.asarray(draw_curves([one], "x")).tobytes() != np.asarray(draw_curves([one], "y")).tobytes()


def test_the_picture_is_a_png_written_whole(tmp_path):
    write_curves(tmp_path / "curves.png", RUN, "runs/small")
    data = (tmp_path / "curves.png").read_bytes()
    assert Image.open(io.BytesIO(data)).format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
