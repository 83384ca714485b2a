"""The page of an evaluation."""

import re
import time
from itertools import pairwise

import pytest

from imgret.errors import InputError
from imgret.report.evaluation_page import SubsetPart, write_evaluation_page
from imgret.report.rows import ResultHit, ResultRow
from tests.pictures import save
from tests.report.browser import needs_chromium, screenshot, seen
from tests.report.test_page import Reader

CURVE = [(0, 1), (0.5, 0.8), (1, 0.2)]
EVIL = "<script>alert(1)</script>\"'.jpg"
ODD = b"caf\xe9\n.jpg".decode("utf-8", "surrogateescape")


def subset(name="medium", aps=(0.2, 0.9), curve=CURVE):
    queries = [(f"{name}-{number}.jpg", ap, "2 of 3 found") for number, ap in enumerate(aps)]
    return SubsetPart(name, [("mAP", "55.00 %"), ("queries", str(len(aps)))], queries, curve)


def write(tmp_path, subsets=(), **others):
    path = tmp_path / "report.html"
    values = {"title": "Evaluation", "subtitle": "", "shown": "medium", "worst": [], "best": [], "protocol": []}
    write_evaluation_page(path, subsets=subsets, **(values | others))
    return path


def page(tmp_path, subsets=(), **others):
    return write(tmp_path, subsets, **others).read_text(encoding="utf-8")


def row(tmp_path, name="q.jpg"):
    path = str(save(tmp_path, "photo.png", 3, (320, 240)))
    verdicts = ("positive", "negative", "junk")
    hits = [ResultHit(rank, f"{rank}.jpg", 0.9, path, verdict) for rank, verdict in enumerate(verdicts, 1)]
    return ResultRow(name, path, hits, box=(32, 24, 160, 120), note="AP 20.00 %")


def full(tmp_path):
    """A page with everything on it."""
    return write(
        tmp_path,
        [subset("easy", [0.4, 1.0] * 20), subset("medium", [0.1, 0.9] * 20), subset("hard", [0.0, 0.5] * 20)],
        subtitle="glam",
        worst=[row(tmp_path, "the/worst.jpg")],
        best=[row(tmp_path, "the/best.jpg")],
        protocol=[("junk", "removed"), ("ground truth", "sha256:" + "0123456789abcdef" * 4)],
        notes=["One query has no positive."],
        tables=[("Reconciled", ["rule", "mAP", "difference"], [["finite sum", "55.10 %", "+0.10"], ["none", "–", ""]])],
    )


def test_every_subset_has_its_scores_and_its_plot(tmp_path):
    read = Reader(page(tmp_path, [subset("easy"), subset("hard", [0.1])]))
    assert len(read.of_class("score")) == 2
    assert len(read.of_class("headline")) == 2
    assert len(read.of_class("bars")) == 2
    assert len(read.of_class("curve")) == 4  # two in the plot, two in its legend
    for text in ("easy", "hard", "55.00 %", "easy-1.jpg: 90.00 %", "2 of 3 found", "1 query, at 10.00 %."):
        assert text in read.text


def test_the_worst_and_the_best_queries_are_shown_with_box_and_verdicts(tmp_path):
    read = Reader(full(tmp_path).read_text(encoding="utf-8"))
    assert len(read.of_class("query")) == 2
    assert [hit["class"] for hit in read.of_class("hit")] == ["hit positive", "hit negative", "hit junk"] * 2
    assert len(read.of_class("mark")) == 6
    # 32/320 and 24/240 from the corner, 128/320 wide and 96/240 high
    boxes = {tuple(box[edge] for edge in ("x", "y", "width", "height")) for box in read.of_class("box")}
    assert boxes == {("10.00", "10.00", "40.00", "40.00")}  # percent
    assert read.text.count("Chosen by their average precision, and judged, in medium.") == 2
    assert read.text.index("the/worst.jpg") < read.text.index("the/best.jpg")


def test_the_pages_own_policy_forbids_every_request_and_script(tmp_path):
    text = full(tmp_path).read_text(encoding="utf-8")
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in text
    for outside in ("http://", "https://", "//www", "@import", "url(", "xmlns", "<script", "onload"):
        assert outside not in text
    for _, attributes in Reader(text).elements:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "data:").startswith("data:")


@pytest.mark.parametrize("name", [EVIL, "a\nb" + EVIL])
def test_markup_in_names_is_only_text(tmp_path, name):
    rows = [ResultRow(name, None, [ResultHit(1, name, 0.5, None, "junk")], note=name, error=None)]
    text = page(
        tmp_path,
        [SubsetPart(name, [(name, name)], [(name, 0.5, name)], CURVE)],
        title=name,
        subtitle=name,
        shown=name,
        worst=rows,
        best=rows,
        protocol=[(name, name)],
        notes=[name],
        tables=[(name, [name, name], [[name, name]])],
    )
    assert "<script" not in text
    assert Reader(text).text.count(EVIL) >= 15


def test_names_that_are_no_valid_text_are_escaped(tmp_path):
    hits = [ResultHit(1, ODD, 0.5)]
    part = SubsetPart(ODD, [], [(ODD, 0.5, "")], CURVE)
    text = page(tmp_path, [part], title=ODD, worst=[ResultRow(ODD, None, hits)], shown=ODD)
    assert text.count("caf\\xe9\\x0a.jpg") >= 5


def test_a_subset_without_curve_is_not_in_the_plot_of_curves(tmp_path):
    read = Reader(page(tmp_path, [subset("easy"), subset("hard", curve=[])]))
    assert len(read.of_class("curve")) == 2  # in the plot, and in its legend
    without = Reader(page(tmp_path, [subset(curve=[])]))
    assert not without.of_class("curve")
    assert "Precision and recall" not in without.text


@pytest.mark.parametrize(
    ("aps", "words"),
    [((), "No query was scored."), ((0.7,), "1 query, at 70.00 %."), ((0, 0), "2 queries, all at 0.00 %.")],
)
def test_no_query_one_query_and_no_success_are_said_in_words(tmp_path, aps, words):
    read = Reader(page(tmp_path, [subset(aps=aps)]))
    assert words in read.text
    assert len(read.of_class("bars")) == bool(aps)


def test_a_page_of_nothing_is_a_page(tmp_path):
    read = Reader(page(tmp_path, title="Nothing"))
    assert "Nothing" in read.text
    assert not read.of_class("score")


def test_five_thousand_queries_are_quick_and_small(tmp_path):
    aps = [(number * 7919 % 5000) / 5000 for number in range(5000)]
    start = time.process_time()
    text = page(tmp_path, [subset("easy", aps), subset("medium", aps), subset("hard", aps)])
    assert time.process_time() - start < 3
    assert len(text) < 150_000


def test_headings_are_in_order(tmp_path):
    read = Reader(full(tmp_path).read_text(encoding="utf-8"))
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_have_captions_and_scopes(tmp_path):
    read = Reader(full(tmp_path).read_text(encoding="utf-8"))
    assert len(read.of_tag("table")) == len(read.of_tag("caption")) == 2
    assert [cell["scope"] for cell in read.of_tag("th")] == ["row"] * 2 + ["col"] * 3 + ["row"] * 2


def test_columns_of_numbers_are_set_to_the_right(tmp_path):
    table = (
        "t",
        ["rule", "mAP", "why"],
        [["finite sum", "55.10 %", "3 queries"], ["ties", "−1.5", ""], ["junk", "–", ""]],
    )
    read = Reader(page(tmp_path, tables=[table]))
    assert [cell.get("class") for cell in read.of_tag("td")] == ["number", None] * 3


def test_a_row_that_is_not_as_long_as_its_header_is_refused(tmp_path):
    with pytest.raises(ValueError, match="2 cells, got 1"):
        page(tmp_path, tables=[("t", ["a", "b"], [["only one"]])])


def test_a_bad_score_leaves_the_old_page(tmp_path):
    page(tmp_path, title="old")
    with pytest.raises(ValueError, match="must be in 0..1"):
        page(tmp_path, [subset(aps=[50])])
    assert "old" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="its folder does not exist"):
        write(tmp_path / "gone")


def brightness(colour):
    """Relative luminance of #rgb or #rrggbb (WCAG 2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted((brightness(one), brightness(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark", "print"])
def test_text_has_a_contrast_of_4_5_at_least(tmp_path, mode):
    text = full(tmp_path).read_text(encoding="utf-8")
    dark, printed = "@media (prefers-color-scheme: dark) {", "@media print {"
    colours = {}
    for block in re.findall(r"(?:@media [^{]*\{\s*)?:root \{.*?\}", text, re.DOTALL):
        kind = "dark" if block.startswith(dark) else "print" if block.startswith(printed) else "light"
        if kind in ("light", mode):  # dark and print change what light has said
            colours |= dict(re.findall(r"--([\w-]+): (#\w+);", block))
    on_card = ["ink", "soft", "accent", "right", "wrong", "junk", *(f"colour-{number}" for number in range(4))]
    pairs = [(name, "card") for name in on_card] + [(name, "page") for name in ("ink", "soft")] + [("soft", "sunken")]
    weak = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_draws_the_plots_in_the_colours_of_the_page(tmp_path, dark):
    picture = screenshot(full(tmp_path), 1280, 1200, dark=dark)
    assert picture.getpixel((2, 2)) == ((20, 22, 26) if dark else (246, 245, 242))
    # blue, orange and violet: 40 bars each, about a third of 290 x 220 pixels; a headline and a curve are far less
    series = (
        [(134, 179, 255), (240, 163, 94), (205, 162, 245)] if dark else [(43, 95, 179), (178, 86, 13), (122, 63, 168)]
    )
    assert min(counted(picture, *series)) > 6000


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_all_text_and_nothing_sticks_out(tmp_path, width):
    page = seen(full(tmp_path), width)
    assert page["wide"] == width
    assert page["out"] == []
    for text in ("Scores", "55.00 %", "Protocol", "the/worst.jpg", "Reconciled", "One query has no positive."):
        assert text in page["text"]


def counted(picture, *colours):
    """How many pixels have each colour."""
    found = {colour: count for count, colour in picture.getcolors(picture.width * picture.height)}
    return [found.get(colour, 0) for colour in colours]
