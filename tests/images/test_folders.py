from __future__ import annotations

import os
import sys
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret.images.folders import place, walk

# characters on both sides of the '/' in byte order, where a folder and its neighbours could change places
parts = st.text("ab-.0/ é\udcff", min_size=1, max_size=3).map(lambda text: "a" + text.replace("/", "") + "z")


@settings(max_examples=60, deadline=None)
@given(st.sets(st.lists(parts, min_size=1, max_size=3).map("/".join), max_size=12))
@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that keeps any bytes")
def test_a_walk_gives_the_byte_order_of_whole_paths(names):
    names = {name for name in names if not any(other.startswith(name + "/") for other in names)}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            open(os.path.join(folder, name), "wb").close()
        assert list(walk(folder, [])) == sorted(names, key=os.fsencode)


def test_a_folder_stands_where_its_files_do(tmp_path):
    # '-' and '.' come before '/' in byte order, '0' after it
    for name in ("a/x", "a-b/x", "a.b", "a0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(walk(str(tmp_path), [])) == ["a-b/x", "a.b", "a/x", "a0"]


def test_a_folder_that_may_not_be_read_is_noted_and_the_rest_goes_on(tmp_path, monkeypatch):
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").touch()
    scandir = os.scandir

    def denied(folder):
        if folder.endswith(b"closed"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)
    notes: list[str] = []
    assert list(walk(str(tmp_path), notes)) == ["open/a.jpg"]
    assert "closed cannot be read" in notes[0]


@pytest.mark.parametrize(
    "name", ["a.jpg", "b/a.jpg", "./a.jpg", "b/../a.jpg", "b//a.jpg", "/x/a.jpg", "../a", "../../b/a", "a."]
)
def test_the_quick_way_to_a_place_gives_what_the_library_gives(name):
    full = os.path.abspath(os.path.join("/photos", name))
    for root in ("/photos", "/", "/photos/b", "/x"):
        assert place(name, "/photos", root) == (os.path.relpath(full, root), full)
