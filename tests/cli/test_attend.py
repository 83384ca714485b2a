"""`imgret attend` as a user types it."""

from __future__ import annotations

import os
import tarfile

import pytest
from PIL import Image
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.extraction import looking
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


@pytest.mark.parametrize("several", [["photos/0.png", "photos/1.png"], ["photos"], ["photos/*.png"], ["some.tar"]])
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


def test_a_folder_is_said_to_be_one_and_a_file_in_it_suggested(place):
    (place / "out").mkdir()
    told = run("photos/0.png", "-m", "gem", "-o", "out", code=1).stderr
    assert "it is a folder; name a file in it, such as out/attention.png" in told
    assert "such as out/page.html" in run("photos/0.png", "-m", "gem", "--html", "out", code=1).stderr


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
def test_a_device_is_not_replaced_by_a_file(place):
    assert "such as /dev/stdout.html" in run("photos/0.png", "-m", "gem", "--html", "/dev/stdout", code=2).stderr
    os.symlink("/dev/null", "page.html")
    assert "it is a pipe or a device" in run("photos/0.png", "-m", "gem", "--html", "page.html", code=1).stderr
    os.mkfifo("out.png")
    assert "it is a pipe or a device" in run("photos/0.png", "-m", "gem", "-o", "out.png", code=1).stderr


def test_a_folder_without_the_right_to_write_is_named_before_the_model_loads(place, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert "no right to write" in run("photos/0.png", "-m", "gem", "-o", "out.png", code=1).stderr


def test_a_photograph_is_never_overwritten(place):
    before = (place / "photos" / "0.png").read_bytes()
    for output in ("photos/0.png", "photos/../photos/0.png", str(place / "photos" / "0.png")):
        assert "would overwrite" in run("photos/0.png", "-m", "watcher", *RANDOM, "-o", output, code=1).stderr
    assert "such as photos/0.html" in run("photos", "-m", "watcher", *RANDOM, "--html", "photos/0.png", code=2).stderr
    os.link("photos/0.png", "page.html")  # the same file by another name
    assert "would overwrite" in run("photos", "-m", "watcher", *RANDOM, "--html", "page.html", code=1).stderr
    assert (place / "photos" / "0.png").read_bytes() == before


def test_the_archive_an_image_is_in_is_not_overwritten(place):
    with tarfile.open("photos.tar", "w") as archive:
        archive.add("photos/0.png")
    os.link("photos.tar", "page.html")
    assert "would overwrite" in run("photos.tar", "-m", "watcher", *RANDOM, "--html", "page.html", code=1).stderr


def test_an_image_that_is_not_looked_at_is_not_overwritten_either(place, monkeypatch):
    monkeypatch.setattr(attention_page, "MOST_IMAGES", 1)
    os.link("photos/2.png", "page.html")
    assert "would overwrite" in run("photos", "-m", "watcher", *RANDOM, "--html", "page.html", code=1).stderr


def test_an_older_page_is_overwritten(place):
    (place / "page.html").write_text("old")
    run("photos", "-m", "watcher", *RANDOM, "--html", "page.html")
    assert "Where watcher looks" in (place / "page.html").read_text(encoding="utf-8")


def test_sheet_and_page_cannot_be_one_file(place):
    told = run("photos/0.png", "-m", "watcher", *RANDOM, "-o", "x.png", "--html", "photos/../x.png", code=2).stderr
    assert "-o and --html are the same file: x.png" in told
    assert not (place / "x.png").exists()


def test_a_list_from_stdin_is_not_taken(place):
    for images in (["-"], ["photos/0.png", "-"]):
        assert "- (stdin) is not taken here" in run(*images, "-m", "watcher", "--html", "page.html", code=2).stderr


@pytest.mark.parametrize("arguments", [["-m", "own.safetensors"], ["-m", "gem", "--weights", "own.safetensors"]])
def test_a_seed_beside_a_weights_file_is_refused(place, arguments):
    told = run("photos/0.png", *arguments, "--seed", "1", "-o", "out.png", code=2).stderr
    assert "own.safetensors brings its own weights; leave out --seed 1" in told


def test_a_name_that_is_no_valid_text_is_escaped(place):
    odd = os.fsdecode(b"caf\xe9.png")
    assert r"The picture is caf\xe9.png" in run("photos/0.png", "-m", "watcher", *RANDOM, "-o", odd).stderr
    told = run("photos/0.png", "-m", "watcher", *RANDOM, "-o", f"gone/{odd}", code=1).stderr
    assert r"-o gone/caf\xe9.png cannot be written" in told


def test_an_interrupt_says_that_nothing_was_written(place, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(looking.Looker, "look", interrupt)
    told = run("photos/0.png", "-m", "watcher", *RANDOM, "-o", "out.png", "-q", code=130).stderr
    assert told == "imgret: interrupted; nothing was written\n"
    assert not (place / "out.png").exists()


def test_the_help_names_the_limit(place):
    assert f"the first {attention_page.MOST_IMAGES} are looked at" in run("--help").stdout


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
    assert "UNTRAINED" not in result.stderr
    assert not (place / "out.png").exists()


def test_a_page_is_cut_aloud(place, monkeypatch):
    monkeypatch.setattr(attention_page, "MOST_IMAGES", 2)
    result = run("photos", "-m", "watcher", *RANDOM, "--html", "page.html")
    words = "Only the first 2 images were looked at; 1 more was not."
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
