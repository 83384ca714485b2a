"""`imgret attend` as a user types it."""

from __future__ import annotations

import pytest
from PIL import Image
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.models import MODELS
from imgret.report import attention_page
from tests.pictures import save
from tests.watcher import WATCHER

RANDOM = ["--weights", "none", "--device", "cpu"]


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, ["attend", *(str(argument) for argument in arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with three photos; it is the current folder, and the watcher is a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODELS, "watcher", WATCHER)
    monkeypatch.setenv("COLUMNS", "300")  # usage errors are framed and folded
    for number in range(3):
        save(tmp_path / "photos", f"{number}.png", number)
    return tmp_path


def test_one_image_becomes_a_sheet(place):
    result = run("photos/0.png", "--model", "watcher", *RANDOM, "-o", "out.png")
    assert result.stdout == ""
    assert "The picture is out.png" in result.stderr
    assert "UNTRAINED" in result.stderr
    with Image.open("out.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 600


def test_sheet_and_page_may_be_asked_for_together(place):
    run("photos/0.png", "-m", "watcher", *RANDOM, "-o", "out.png", "--html", "page.html")
    assert (place / "out.png").stat().st_size > 1000
    text = (place / "page.html").read_text(encoding="utf-8")
    assert text.count("<img") == 3
    assert "Where watcher looks" in text
    assert "UNTRAINED" in text


def test_folders_and_files_share_a_page(place):
    save(place, "more.png", 7)
    run("photos", "more.png", "-m", "watcher", *RANDOM, "--html", "page.html")
    text = (place / "page.html").read_text(encoding="utf-8")
    assert text.count("<img") == 3 * 4
    assert "more.png" in text


@pytest.mark.parametrize(
    "several", [["photos/0.png", "photos/1.png"], ["photos"], ["photos/*.png"], ["some.tar"], ["-"]]
)
def test_a_sheet_of_several_images_is_wrong_usage_and_names_the_page(place, several):
    result = run(*several, "-m", "watcher", *RANDOM, "-o", "out.png", code=2)
    assert "--html page.html" in result.stderr
    assert not (place / "out.png").exists()


def test_nowhere_to_write_is_wrong_usage(place):
    assert "-o out.png" in run("photos/0.png", "-m", "watcher", *RANDOM, code=2).stderr


def test_a_sheet_is_png(place):
    assert "such as out.png" in run("photos/0.png", "-m", "watcher", "-o", "out.jpg", code=2).stderr


def test_a_place_that_cannot_be_written_is_named_before_the_model_loads(place):
    result = run("photos/0.png", "-m", "gem", "-o", "gone/out.png", code=1)
    assert result.stderr == "imgret: -o gone/out.png cannot be written: its folder does not exist\n"
    assert "it is a folder" in run("photos/0.png", "-m", "gem", "--html", "photos", code=1).stderr


def test_an_image_that_cannot_be_read_is_an_error_line_and_the_others_are_shown(place):
    (place / "photos" / "bad.png").write_bytes(b"")
    result = run("photos", "-m", "watcher", *RANDOM, "--html", "page.html", code=1)
    assert "imgret: bad.png: empty: the file has no bytes" in result.stderr
    text = (place / "page.html").read_text(encoding="utf-8")
    assert text.count("<img") == 3 * 3
    assert "the file has no bytes" in text


def test_a_damaged_image_alone_leaves_no_sheet(place):
    (place / "bad.png").write_bytes(b"")
    result = run("bad.png", "-m", "watcher", *RANDOM, "-o", "out.png", code=1)
    assert "imgret: bad.png: empty" in result.stderr
    assert not (place / "out.png").exists()


def test_a_page_is_cut_aloud(place, monkeypatch):
    monkeypatch.setattr(attention_page, "MOST_IMAGES", 2)
    result = run("photos", "-m", "watcher", *RANDOM, "--html", "page.html")
    words = "The first 2 of 3 images are shown."
    assert words in result.stderr
    text = (place / "page.html").read_text(encoding="utf-8")
    assert words in text
    assert text.count("<img") == 3 * 2


def test_a_model_that_cannot_show_where_it_looks_says_so_in_one_line(place, mean_colour):
    result = run("photos/0.png", "-m", mean_colour, *RANDOM, "-o", "out.png", "-q", code=1)
    assert result.stderr.startswith("imgret: mean-colour cannot show where it looks")
    assert result.stderr.count("\n") == 1


def test_a_model_without_trained_weights_is_refused_as_by_extract(place):
    refused = run("photos/0.png", "-m", "glam", "-o", "out.png", "-q", code=1).stderr
    extract = ["extract", "photos", "-m", "glam", "-o", "store", "-q", "--workers", "0"]
    assert refused == CliRunner().invoke(app, extract).stderr
    assert "no trained weights ship for glam" in refused


def test_an_unknown_model_is_named(place):
    assert "did you mean glam?" in run("photos/0.png", "-m", "glm", "-o", "out.png", code=1).stderr


def test_size_and_box_are_heeded(place):
    sized = run("photos/0.png", "-m", "watcher", *RANDOM, "--image-size", "48", "-v", "-o", "out.png")
    assert "local 5 x 6 cells" in sized.stderr  # 48 x 36 pixels in cells of 8
    boxed = run("photos/0.png", "-m", "watcher", *RANDOM, "--box", "0,0,48,32", "-v", "-o", "out.png")
    assert "0.png#0,0,48,32: local 4 x 6 cells" in boxed.stderr


def test_quiet_says_nothing(place):
    assert run("photos/0.png", "-m", "watcher", *RANDOM, "-o", "out.png", "-q").stderr == ""
