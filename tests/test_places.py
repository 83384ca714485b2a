from __future__ import annotations

from pathlib import Path

import pytest

from imgret import places
from imgret.errors import InputError


def test_archives_are_known_by_their_ending_and_members_by_what_follows():
    assert places.is_archive("set.tar")
    assert places.is_archive("s3://bucket/SET.ZIP")
    assert not places.is_archive("set.tar/a.jpg")
    assert places.member_of("x/set.zip/a/b.jpg") == "a/b.jpg"
    assert places.member_of("x/set.Tar/b.zip/c.jpg") == "b.zip/c.jpg"
    assert places.member_of("x/a.jpg") == ""
    assert places.archive_ends("a.tar/b.zip/c.jpg") == [len("a.tar"), len("a.tar/b.zip")]


@pytest.mark.parametrize("url", ["s3://b/x", "https://h/a.jpg", "memory://x", "FILE:///x", "abfs+x://y"])
def test_a_url_is_one(url):
    assert places.is_url(url)


@pytest.mark.parametrize("path", ["C:/photos", "c://photos", "/photos", "a.jpg", "s3:/b", "x/s3://b", Path("s3://b")])
def test_a_path_is_none(path):
    assert not places.is_url(path)


def test_a_url_that_pathlib_folded_is_whole_again():
    assert places.unfolded(Path("s3://bucket/x")) == "s3://bucket/x"
    assert places.unfolded("s3://bucket/x") == "s3://bucket/x"
    assert places.unfolded(Path("/photos/x")) == "/photos/x"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///photos/a.jpg", "/photos/a.jpg"),
        ("file:///a%20b.jpg", "/a b.jpg"),
        ("file:///%ff.jpg", "/\udcff.jpg"),  # a byte that is no text, as in every id
        ("file:///a?b#c.jpg", "/a?b#c.jpg"),
        ("file://localhost/a.jpg", "/a.jpg"),
        ("s3://b/a%20b.jpg", "s3://b/a%20b.jpg"),
    ],
)
def test_a_file_url_is_the_path_it_names(url, path):
    assert places.local(url) == path


def test_the_url_of_an_image_leaves_out_its_box_and_ends_at_its_archive():
    assert places.remote_place("s3://b", "x/a.jpg#1,2,3,4") == "s3://b/x/a.jpg"
    assert places.remote_place("s3://b", "x/a.tar/c.jpg#1,2,3,4") == "s3://b/x/a.tar"


@pytest.mark.parametrize("url", ["file://server/photos", "file://photos/a.jpg", "file:///a%00.jpg"])
def test_a_file_url_of_another_machine_or_of_no_file_is_refused(url):
    with pytest.raises(InputError, match=url):
        places.local(url)
