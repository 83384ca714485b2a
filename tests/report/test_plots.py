"""Plots as inline SVG."""

import re
import time

import pytest

from imgret.report.plots import MOST_BARS, STRIPS, ap_plot, ap_words, curves_plot, style_of
from tests.report.test_page import Reader


def drawn(svg, kind):
    """The d of the paths of a class."""
    return [path["d"] for path in Reader(svg).of_class(kind)]


def tips(svg):
    return re.findall(r"<title>(.*?)</title>", svg, re.DOTALL)


def many(count):
    return [(f"q{number}", number / count, "") for number in range(count)]


def test_bars_rise_from_the_worst_query_to_the_best():
    svg = ap_plot([("good.jpg", 1, "4 of 4 found"), ("bad.jpg", 0.25, "1 of 4 found")])
    # one place each, 1000 high: a quarter, then all of it
    assert drawn(svg, "bars") == ["M0.1 1000v-250h.8v250zM1.1 1000v-1000h.8v1000z"]
    assert tips(svg) == ["bad.jpg: 25.00 %\n1 of 4 found", "good.jpg: 100.00 %\n4 of 4 found"]


def test_a_query_that_found_nothing_is_still_seen():
    (path,) = drawn(ap_plot([("a", 0, ""), ("b", 0, "")]), "bars")
    assert path.count("v-6h") == 2


def test_the_mean_is_a_line_at_its_height():
    (mean,) = Reader(ap_plot([("a", 0.25, ""), ("b", 1, "")])).of_class("mean")
    assert mean["y1"] == mean["y2"] == "37.5%"  # from the top: 1 - (1/4 + 1) / 2


@pytest.mark.parametrize(("ap", "x", "y"), [(0.9, "0", "10%"), (0.95, "100%", "0")])
def test_the_mean_is_written_above_its_line_or_above_the_plot_where_bars_are_tall(ap, x, y):
    (value,) = Reader(ap_plot([("a", ap, "")])).of_class("value")
    assert (value["x"], value["y"]) == (x, y)


def test_many_queries_are_one_stepped_area():
    half = [("x", 0.5, "")] * 150 + [("y", 1.0, "")] * 100
    svg = ap_plot(half)
    assert drawn(svg, "bars") == ["M0 1000V500H150V0H250V1000z"]


def test_the_strips_of_an_area_name_every_query_once():
    count = 1234
    read = Reader(ap_plot(many(count))).of_class("tip")
    assert len(read) == STRIPS
    place = 0
    for strip in read:
        assert int(strip["x"]) == place
        place += int(strip["width"])
    assert place == count


def test_a_strip_says_which_queries_it_holds():
    # 500 queries in 100 strips of 5: the second holds the 6th to the 10th
    svg = ap_plot(many(500))
    assert tips(svg)[1] == "q5: 1.00 %\nto q9: 1.80 %\nqueries 6 to 10 of 500"


def test_bars_become_an_area_after_the_last_that_fits():
    assert len(tips(ap_plot(many(MOST_BARS)))) == MOST_BARS
    assert "h.8" in ap_plot(many(MOST_BARS))
    assert "h.8" not in ap_plot(many(MOST_BARS + 1))


def test_a_plot_of_a_hundred_thousand_queries_is_small_and_quick():
    queries = many(100_000)
    start = time.process_time()
    svg = ap_plot(queries)
    assert time.process_time() - start < 3
    assert len(svg) < 50_000


@pytest.mark.parametrize(
    ("count", "numbers"),
    [
        (1, ["1"]),
        (2, ["1", "2"]),
        (70, ["1", "20", "40", "70"]),
        (5000, ["1", "1,000", "2,000", "3,000", "4,000", "5,000"]),
        (117_577, ["1", "50k", "117,577"]),
    ],
)
def test_queries_are_numbered_with_room_between(count, numbers):
    svg = ap_plot([("q", 0.5, "")] * count)
    below = re.findall(r'<text class="tick" text-anchor="middle"[^>]*>([^<]+)<', svg)
    assert below == numbers


def test_there_is_no_plot_without_queries_or_curves():
    assert ap_plot([]) == ""
    assert curves_plot([]) == ""
    assert curves_plot([("all", [])]) == ""


@pytest.mark.parametrize("ap", [-0.01, 1.01, 64.67, float("nan")])
def test_an_ap_outside_0_to_1_is_refused(ap):
    with pytest.raises(ValueError, match=r"'q1' must be in 0\.\.1"):
        ap_plot([("q0", 0.5, ""), ("q1", ap, "")])


def test_a_curve_goes_through_its_points():
    svg = curves_plot([("all", [(0, 1), (0.5, 0.25), (1, 0)])])
    assert drawn(svg, "curve") == ["M0 0L500 750L1000 1000h0"]  # precision counts from the bottom, pixels from the top


def test_a_subset_without_curve_keeps_the_styles_of_the_others():
    point = [(0.5, 0.5)]
    read = Reader(curves_plot([("easy", point), ("medium", []), ("hard", point)]))
    assert [curve["class"] for curve in read.of_class("curve")] == [f"curve {style_of(0)}", f"curve {style_of(2)}"]


@pytest.mark.parametrize("points", [[(0, 1.2)], [(-0.1, 1)], [(0, float("nan"))]])
def test_a_curve_outside_0_to_1_is_refused(points):
    with pytest.raises(ValueError, match="'hard' must be in"):
        curves_plot([("hard", points)])


def test_a_curve_whose_recall_falls_is_refused():
    with pytest.raises(ValueError, match="must not fall"):
        curves_plot([("hard", [(0.5, 1), (0.4, 1)])])


def test_twelve_series_differ_in_colour_or_dash():
    assert len({style_of(number) for number in range(12)}) == 12
    # neighbours, the usual easy, medium and hard, differ in both
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not set(style_of(first).split()) & set(style_of(second).split())


def test_names_are_only_text():
    odd = b"caf\xe9\n<script>\"'.jpg".decode("utf-8", "surrogateescape")
    for svg in (ap_plot([(odd, 0.5, odd)]), ap_plot([(odd, 0.5, odd)] * 300), curves_plot([(odd, [(0, 1)])])):
        assert "<script" not in svg
        assert "caf\\xe9\\x0a<script>\"'.jpg" in Reader(svg).text


def test_a_plot_can_be_read_without_eyes():
    (plot,) = (one for one in Reader(ap_plot([("a", 0.0, ""), ("b", 0.5, ""), ("c", 1.0, "")])).of_class("plot"))
    assert plot["role"] == "img"
    assert plot["aria-label"].endswith("3 queries: 1 at 0 %, median 50.00 %, the best at 100.00 %.")


@pytest.mark.parametrize(
    ("aps", "words"),
    [
        ([], "No query was scored."),
        ([0.5], "1 query, at 50.00 %."),
        ([0, 0, 0], "3 queries, all at 0.00 %."),
        ([0.1, 0.2, 0.4, 0.9], "4 queries: the worst at 10.00 %, median 30.00 %, the best at 90.00 %."),
    ],
)
def test_average_precisions_in_words(aps, words):
    assert ap_words([("q", ap, "") for ap in aps]) == words
