"""The page of attention."""

import io

import numpy as np
import pytest
from PIL import Image

from imgret.report.attention_page import write_attention_page
from tests.report.looks import a_look
from tests.report.test_page import Reader


def look(name="a.jpg", size=(96, 64), **views):
    return a_look(name, size, views or None)


def page(tmp_path, looks=(), **others):
    path = tmp_path / "page.html"
    write_attention_page(path, looks, title=others.pop("title", "Where gem looks"), **others)
    return path.read_text(encoding="utf-8")


def test_every_image_has_its_photograph_and_its_views(tmp_path):
    read = Reader(page(tmp_path, [look("a.jpg"), look("b/c.jpg")]))
    assert len(read.of_class("image")) == 2
    assert len(read.of_tag("img")) == 6
    assert "a local attention of this model" in read.text
    assert "b/c.jpg" in read.text


def test_the_scale_says_the_extremes_and_marks_the_average(tmp_path):
    # 1 and 3: 0.5x and 1.5x; (1 - sqrt .5) / (sqrt 1.5 - sqrt .5) = 0.5659
    read = Reader(page(tmp_path, [look(local=np.array([[1.0, 3.0]]))]))
    assert "0.50x" in read.text
    assert "1.50x the average" in read.text
    (scale,) = read.of_class("scale")
    # all colours of the map, from the very first stop to the very last
    assert scale["style"].startswith("background: linear-gradient(to right, rgb(42 36 62), ")
    assert scale["style"].endswith("rgb(228 218 176))")
    (tick,) = read.of_tag("i")
    assert tick["style"] == "left: 56.6%"
    assert ">1x</span>" in page(tmp_path, [look(local=np.array([[1.0, 3.0]]))])


def test_a_flat_map_is_said_to_be_flat_and_has_no_scale(tmp_path):
    read = Reader(page(tmp_path, [look(pooled=np.ones((2, 3)))]))
    assert "the same everywhere" in read.text
    assert not read.of_class("scale")


def test_pictures_are_small_and_inside_the_page(tmp_path):
    text = page(tmp_path, [look(size=(1600, 800))])
    for outside in ("http://", "https://", "@import", "url("):
        assert outside not in text
    read = Reader(text)
    assert not read.of_tag("script")
    for image in read.of_tag("img"):
        head, _, data = image["src"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert size_of(data) == (640, 320) == (int(image["width"]), int(image["height"]))


def test_a_sliver_is_not_taller_than_a_screen(tmp_path):
    text = page(tmp_path, [look(size=(2, 400))])
    assert "width: min(100%, calc(640px * var(--shape))); height: auto; max-height: 640px" in text
    assert {image["style"] for image in Reader(text).of_tag("img")} == {"--shape: 0.0050"}


def test_the_models_own_words_are_on_the_page(tmp_path):
    text = page(tmp_path, [a_look(words={"local": "the gain"}, size=(2, 320), seen=(320, 32))])
    assert "<p>the gain</p>" in text
    assert "decoded to 2 x 320 pixels, stretched to 32 x 320 for the model" in text


def test_markup_in_names_is_only_text(tmp_path):
    evil = "<script>alert(1)</script>\"'.jpg"
    view = {evil: np.array([[1.0, 2.0]])}
    text = page(
        tmp_path, [look(evil, **view)], title=evil, about=evil, notes=[evil], errors={evil: evil}, untrained=True
    )
    assert "<script" not in text
    assert Reader(text).text.count(evil) >= 7


def test_names_that_are_no_valid_text_are_escaped(tmp_path):
    odd = b"caf\xe9\n.jpg".decode("utf-8", "surrogateescape")
    text = page(tmp_path, [look(odd)], errors={odd: "gone"}, about=odd)
    assert text.count("caf\\xe9\\x0a.jpg") >= 2


def test_untrained_weights_are_said_and_trained_ones_are_not(tmp_path):
    assert "UNTRAINED" in page(tmp_path, [look()], untrained=True)
    assert "UNTRAINED" not in page(tmp_path, [look()])


def test_images_that_could_not_be_read_are_on_the_page_with_the_reason(tmp_path):
    read = Reader(page(tmp_path, [look()], errors={"bad.jpg": "truncated: the file ends early"}))
    assert len(read.of_class("image")) == 2
    assert len(read.of_class("error")) == 1
    assert "truncated: the file ends early" in read.text


@pytest.mark.parametrize(
    ("size", "views", "columns"),
    [((96, 64), 3, 4), ((96, 64), 1, 2), ((500, 100), 3, 2), ((50, 150), 3, 4), ((96, 64), 4, 3)],
)
def test_rows_of_pictures_are_of_equal_length(tmp_path, size, views, columns):
    named = {str(number): np.array([[1.0, 3.0]]) for number in range(views)}
    (image,) = Reader(page(tmp_path, [look(size=size, **named)])).of_class("image")
    assert f"--columns: {columns};" in image["style"]


def test_a_failure_leaves_the_old_page(tmp_path):
    page(tmp_path, title="old")
    with pytest.raises(AttributeError):
        page(tmp_path, ["not a look"])
    assert "old" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def size_of(data):
    import base64

    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return picture.size
