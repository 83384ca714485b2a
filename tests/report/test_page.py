"""The result page."""

import io
import tarfile
import zipfile
from collections import namedtuple
from html.parser import HTMLParser

import pytest
from PIL import Image

from imgret.errors import InputError
from imgret.report.page import MOST_HITS, MOST_QUERIES, ResultHit, ResultRow, rows_of, write_page

Hit = namedtuple("Hit", "rank id score path")
Answer = namedtuple("Answer", "query path hits error", defaults=[None])

VOID = {"meta", "link", "img", "br", "circle", "rect", "path"}


class Reader(HTMLParser):
    """Elements of a page with their attributes and classes, its text, and whether tags match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def of_class(self, name):
        return [attributes for _, attributes in self.elements if name in attributes.get("class", "").split()]

    def of_tag(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (640, 480), (200, 40, 40)).save(path)
    return str(path)


def page(tmp_path, rows=(), **others):
    path = tmp_path / "page.html"
    write_page(path, title=others.pop("title", "Results"), rows=rows, **others)
    return path.read_text(encoding="utf-8")


def test_a_page_shows_rank_score_and_id(tmp_path, photo):
    read = Reader(page(tmp_path, [ResultRow("a.jpg", photo, [ResultHit(1, "b.jpg", 0.93219, photo)])]))
    assert "0.932" in read.text
    assert "b.jpg" in read.text
    assert len(read.of_tag("img")) == 2


def test_markup_in_names_is_only_text(tmp_path, photo):
    evil = "<script>alert(1)</script>\"'.jpg"
    row = ResultRow(evil, photo, [ResultHit(1, evil, 0.5, photo, "positive")], note=evil, error=None)
    text = page(tmp_path, [row], title=evil, subtitle=evil, tiles=[(evil, evil)], notes=[evil])
    assert "<script" not in text
    read = Reader(text)
    assert read.text.count(evil) >= 7


def test_an_error_message_is_only_text(tmp_path):
    assert "<script" not in page(tmp_path, [ResultRow("a", error="<script>")])


def test_a_page_asks_for_nothing_outside_itself(tmp_path, photo):
    text = page(tmp_path, [ResultRow("a", photo, [ResultHit(1, "b", 0.5, photo), ResultHit(2, "c", 0.4)])])
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text
    read = Reader(text)
    assert not read.of_tag("script")
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in read.of_tag("img"))
    assert all(link["href"] == "data:," for link in read.of_tag("link"))


def test_frames_follow_the_verdicts(tmp_path, photo):
    verdicts = ("positive", "negative", "junk", None)
    hits = [ResultHit(rank, f"{rank}.jpg", 0.9, photo, verdict) for rank, verdict in enumerate(verdicts, 1)]
    read = Reader(page(tmp_path, [ResultRow("q", photo, hits)]))
    assert [hit["class"] for hit in read.of_class("hit")] == [
        "hit positive",
        "hit negative",
        "hit junk",
        "hit",
    ]
    assert len(read.of_class("legend")) == 1


def test_without_verdicts_there_is_no_legend(tmp_path, photo):
    read = Reader(page(tmp_path, [ResultRow("q", photo, [ResultHit(1, "a", 0.9, photo)])]))
    assert not read.of_class("legend")


def test_missing_and_damaged_images_become_placeholders_with_the_reason(tmp_path, photo):
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"this is no picture")
    hits = [
        ResultHit(1, "gone.jpg", 0.9, str(tmp_path / "gone.jpg")),
        ResultHit(2, "unknown.jpg", 0.8, None),
        ResultHit(3, "damaged.jpg", 0.7, str(damaged)),
    ]
    read = Reader(page(tmp_path, [ResultRow("q.jpg", photo, hits)]))
    assert len(read.of_class("placeholder")) == 3
    assert len(read.of_tag("img")) == 1
    assert "no such file" in read.text
    assert "file not found" in read.text


def test_the_box_of_a_query_is_drawn_on_it(tmp_path, photo):
    for row in (
        ResultRow("photo.jpg", photo, box=(64, 120, 320, 480)),
        *rows_of([Answer("photo.jpg#64,120,320,480", photo, [])]),
    ):
        (box,) = Reader(page(tmp_path, [row])).of_class("box")
        # 64/640 and 120/480 from the corner, 256/640 wide and 360/480 high
        assert [box[edge] for edge in ("x", "y", "width", "height")] == ["10.00", "25.00", "40.00", "75.00"]  # percent


def test_a_hit_with_a_box_shows_that_part(tmp_path):
    path = tmp_path / "two.png"
    picture = Image.new("RGB", (200, 100), (255, 0, 0))
    picture.paste((0, 0, 255), (100, 0, 200, 100))
    picture.save(path)
    hit = ResultHit(1, "two.png#100,0,200,100", 0.9, str(path))
    read = Reader(page(tmp_path, [ResultRow("q", None, [hit])]))
    assert pixel(read.of_tag("img")[0], 50, 50) == pytest.approx((0, 0, 255), abs=4)


def test_a_file_whose_name_looks_like_a_box_has_none(tmp_path):
    path = tmp_path / "a#1,2,3,4"
    Image.new("RGB", (30, 20)).save(path, "PNG")
    (row,) = rows_of([Answer("a#1,2,3,4", str(path), [])])
    assert row.box is None


def test_thumbnails_are_upright_and_small(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (800, 400)).save(path, exif=exif)
    (image,) = Reader(page(tmp_path, [ResultRow("turned.jpg", str(path))])).of_tag("img")
    assert (image["width"], image["height"]) == ("120", "240")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_of_an_archive_is_shown(tmp_path, kind):
    Image.new("RGB", (40, 30), (0, 200, 0)).save(tmp_path / "green.png")
    where = str(tmp_path / f"some.{kind}")
    if kind == "tar":
        with tarfile.open(where, "w") as archive:
            archive.add(tmp_path / "green.png", "in/green.png")
    else:
        with zipfile.ZipFile(where, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / "green.png", "in/green.png")
    hits = [
        ResultHit(1, f"sub/some.{kind}/in/green.png", 0.9, where),
        ResultHit(2, f"some.{kind}/gone.png", 0.8, where),
    ]
    read = Reader(page(tmp_path, [ResultRow("q", None, hits)]))
    (image,) = read.of_tag("img")
    assert pixel(image, 5, 5) == pytest.approx((0, 200, 0), abs=4)
    assert "not in its archive" in read.text


def test_a_page_fetches_no_image_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr("imgret.images.remote.read", lambda *_: pytest.fail("it was fetched"))
    url = "http://example.org/a.jpg"
    read = Reader(page(tmp_path, [ResultRow("q", url, [ResultHit(1, "a.jpg", 0.9, url)])]))
    assert "elsewhere, not fetched for this page" in read.text


def test_names_that_are_no_valid_text_are_escaped(tmp_path, photo):
    odd = b"caf\xe9\n.jpg".decode("utf-8", "surrogateescape")
    text = page(tmp_path, [ResultRow(odd, photo, [ResultHit(1, odd, 0.5, photo)])], subtitle=odd)
    assert text.count("caf\\xe9\\x0a.jpg") >= 2


def test_answers_become_rows_with_verdicts(tmp_path):
    answers = [
        Answer("a/1", "/a/1", [Hit(1, "a/2", 0.9, None), Hit(2, "b/1", 0.8, "/b/1")]),
        Answer("bad", None, [], "gone"),
    ]
    rows = rows_of(answers, judge=lambda query, hit: "positive" if query[0] == hit[0] else "negative")
    assert [hit.verdict for hit in rows[0].hits] == ["positive", "negative"]
    assert rows[0].hits[1] == ResultHit(2, "b/1", 0.8, "/b/1", "negative")
    assert rows[1].error == "gone"
    assert "gone" in Reader(page(tmp_path, rows)).text


def test_a_long_page_is_cut_and_says_so(tmp_path):
    rows = [ResultRow(f"{number}.jpg") for number in range(MOST_QUERIES + 1)]
    rows[0] = ResultRow("0.jpg", hits=[ResultHit(rank, "h", 0.5) for rank in range(1, MOST_HITS + 2)])
    read = Reader(page(tmp_path, rows))
    assert len(read.of_class("query")) == MOST_QUERIES
    assert len(read.of_class("hit")) == MOST_HITS
    assert f"The first {MOST_QUERIES} of {MOST_QUERIES + 1} queries" in read.text
    assert f"The first {MOST_HITS} of up to {MOST_HITS + 1} results" in read.text


def test_a_failure_leaves_the_old_page(tmp_path):
    page(tmp_path, title="old")
    with pytest.raises(AttributeError):
        page(tmp_path, ["not a row"])
    assert "old" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="its folder does not exist"):
        write_page(tmp_path / "no" / "page.html", title="x")
    with pytest.raises(InputError, match="is a folder"):
        write_page(tmp_path, title="x")


def pixel(image, x, y):
    """The colour of a pixel of an <img> with a data URI."""
    import base64

    data = base64.b64decode(image["src"].partition(",")[2])
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB").getpixel((x, y))
