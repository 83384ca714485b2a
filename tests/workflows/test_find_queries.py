"""What a query is called, wherever it comes from."""

from __future__ import annotations

import pytest

from imgret.workflows.queries import find_queries
from imgret.workflows.searching import _same_image
from tests.images.test_zips import packed
from tests.pictures import save


def test_a_single_file_is_called_by_its_name_and_a_member_by_its_archive_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "x/a.png", 1)
    packed(tmp_path / "x/set.zip", {"b.png": b"x"})
    images, errors = find_queries(["x/a.png", "x/set.zip"])
    assert ([image.id for image in images], errors) == (["a.png", "x/set.zip/b.png"], {})


def test_a_query_behind_a_url_is_called_by_its_name_and_two_of_one_name_by_their_urls():
    memory = pytest.importorskip("fsspec").filesystem("memory")
    for name in ("x/a.png", "y/a.png"):
        memory.pipe(f"/bucket/{name}", b"x")
    try:
        assert [image.id for image in find_queries(["memory://bucket/x/a.png"])[0]] == ["a.png"]
        both, _ = find_queries(["memory://bucket/x/a.png", "memory://bucket/y/a.png"])
        assert [image.id for image in both] == ["memory://bucket/x/a.png", "memory://bucket/y/a.png"]
    finally:
        memory.rm("/bucket", recursive=True)


def test_offline_a_query_behind_a_url_is_an_error_of_its_own():
    images, errors = find_queries(["https://example.org/a.jpg"], offline=True)
    assert (images, list(errors)) == ([], ["https://example.org/a.jpg"])
    assert "--offline" in errors["https://example.org/a.jpg"]


def test_a_member_is_the_query_only_if_it_is_the_same_member(tmp_path):
    path = str(packed(tmp_path / "set.zip", {"a.png": b"x", "b.png": b"y"}))
    assert _same_image("here/set.zip/a.png", path, "set.zip/a.png", path)
    assert not _same_image("here/set.zip/a.png", path, "set.zip/b.png", path)


def test_one_url_is_one_image():
    assert _same_image("a.png", "s3://b/x/a.png", "x/a.png", "s3://b/x/a.png")
    assert not _same_image("a.png", "s3://b/y/a.png", "x/a.png", "s3://b/x/a.png")
