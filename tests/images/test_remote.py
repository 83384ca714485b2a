from __future__ import annotations

import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imgret.errors import InputError
from imgret.images import files, remote
from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from imgret.images.reading import RefusedError, content_sha256, read_bytes
from imgret.images.stream import decode_stream
from tests.images.test_zips import packed, png
from tests.pictures import save

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def bucket():
    """memory://bucket with two pictures in folders, a text, and something hidden."""
    memory = fsspec.filesystem("memory")
    for name, data in {
        "b.png": png(1),
        "a/x.png": png(2),
        "a.png": png(3),
        "notes.txt": b"x",
        ".hidden/c.png": png(4),
    }.items():
        memory.pipe(f"/bucket/{name}", data)
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.fixture
def site(tmp_path):
    """A web server for a folder: (its URL, the folder)."""
    pytest.importorskip("aiohttp")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path
    server.shutdown()
    server.server_close()
    thread.join()


def ids(listing: files.Listing) -> list[str]:
    return [image.id for image in listing.images]


def refusal(image: ImageFile) -> Undecodable:
    with pytest.raises(RefusedError) as caught:
        read_bytes(image)
    return caught.value.why


def test_a_folder_behind_a_url_is_listed_like_one_on_the_disk(bucket):
    listing = files.find(["memory://bucket/"])
    assert ids(listing) == ["a.png", "a/x.png", "b.png"]
    assert (listing.others, listing.roots) == (1, ["memory://bucket"])
    assert ids(files.find(["memory://bucket"])) == ids(listing)
    first = listing.images[0]
    assert (first.path, first.bytes) == ("memory://bucket/a.png", len(png(3)))
    assert first.mtime_ns > 1.7e18  # after 2023: the time it was written
    assert read_bytes(first) == png(3)


def test_files_have_ids_relative_to_their_folder_and_in_lists_to_their_bucket(bucket, tmp_path):
    assert ids(files.find(["memory://bucket/a/x.png"])) == ["x.png"]
    (tmp_path / "list").write_text("memory://bucket/a/x.png\nmemory://bucket/b.png\nmemory://bucket/never.png\n")
    listing = files.find([], list_file=tmp_path / "list")
    assert ids(listing) == ["a/x.png", "b.png", "never.png"]
    assert [image.missing for image in listing.images] == [False, False, True]
    assert listing.roots == ["memory://bucket"]


def test_a_url_as_root_is_what_ids_and_the_names_of_a_list_are_relative_to(bucket, tmp_path):
    (tmp_path / "list").write_text("x.png\n")
    for root in ("memory://bucket/a", Path("memory://bucket/a"), "memory://bucket/a/"):
        listing = files.find([], list_file=tmp_path / "list", root=root)
        assert [(image.id, image.path) for image in listing.images] == [("x.png", "memory://bucket/a/x.png")]
    assert ids(files.find(["memory://bucket/a"], root="memory://bucket")) == ["a/x.png"]
    with pytest.raises(InputError, match="not below --root memory://other"):
        files.find(["memory://bucket/a"], root="memory://other")


def test_files_and_urls_can_be_given_together_and_keep_their_own_roots(bucket, tmp_path):
    save(tmp_path, "photos/1.png", 1)
    listing = files.find([str(tmp_path / "photos"), "memory://bucket/a"], root=tmp_path)
    assert ids(listing) == ["photos/1.png", "x.png"]
    assert listing.roots == [str(tmp_path), "memory://bucket/a"]


def test_a_change_shows_in_time_or_size(bucket):
    before = files.find(["memory://bucket/b.png"]).images[0]
    bucket.pipe("/bucket/b.png", png(5))
    after = files.find(["memory://bucket/b.png"]).images[0]
    assert after.mtime_ns > before.mtime_ns


def test_boxes_of_a_list_are_kept_for_urls(bucket, tmp_path):
    (tmp_path / "list").write_text("path,x1,y1,x2,y2\nmemory://bucket/b.png,1,2,9,8\n")
    (image,) = files.find([], list_file=tmp_path / "list").images
    assert (image.id, image.box) == ("b.png#1,2,9,8", (1, 2, 9, 8))
    found = decode(image, DecodeRule(64))
    assert isinstance(found, Decoded)
    assert found.pixels.shape == (6, 8, 3)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archives_behind_urls_are_read_in_place(bucket, tmp_path, kind):
    path = tmp_path / f"set.{kind}"
    if kind == "zip":
        packed(path, {"1.png": png(1), "sub/2.png": png(2)})
    else:
        with tarfile.open(path, "w") as archive:
            for name, data in (("1.png", png(1)), ("sub/2.png", png(2))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    bucket.pipe(f"/bucket/set.{kind}", path.read_bytes())
    listing = files.find([f"memory://bucket/set.{kind}"])
    assert ids(listing) == [f"set.{kind}/1.png", f"set.{kind}/sub/2.png"]
    assert [read_bytes(image) for image in listing.images] == [png(1), png(2)]
    bucket.pipe(f"/bucket/set.{kind}", path.read_bytes()[:200])
    assert refusal(listing.images[0]).reason in ("truncated", "unreadable")


def test_shards_in_braces_are_read_from_urls(bucket, tmp_path):
    for number in range(2):
        bucket.pipe(f"/bucket/s-{number}.zip", packed(tmp_path / "x.zip", {"a.png": png(number)}).read_bytes())
    assert ids(files.find(["memory://bucket/s-{0..1}.zip"])) == ["s-0.zip/a.png", "s-1.zip/a.png"]


def test_what_is_not_there_is_said_at_once_when_named_and_noted_when_listed(bucket):
    with pytest.raises(InputError, match=r"memory://bucket/never\.png: no such file or folder"):
        files.find(["memory://bucket/never.png"])
    gone = ImageFile("x", "memory://bucket/x.png", "memory://bucket", 5, 0)
    assert (refusal(gone).reason, refusal(gone).retry) == ("missing", True)
    assert remote.is_lost("memory://bucket/x.png")
    assert not remote.is_lost("memory://bucket/b.png")


def test_offline_refuses_other_machines_and_nothing_else(bucket, tmp_path):
    save(tmp_path, "a b.png", 1)
    with pytest.raises(InputError, match="s3://bucket/x is not read with --offline"):
        files.find(["s3://bucket/x"], offline=True)
    (tmp_path / "list").write_text("https://example.org/a.jpg\n")
    with pytest.raises(InputError, match="https://example.org/a.jpg is not read with --offline"):
        files.find([], list_file=tmp_path / "list", offline=True)
    assert ids(files.find(["memory://bucket/a"], offline=True)) == ["x.png"]
    for url in (f"file://{tmp_path}/", f"file://{tmp_path}/a%20b.png"):
        (image,) = files.find([url], root=tmp_path, offline=True).images
        assert (image.id, image.path) == ("a b.png", str(tmp_path / "a b.png"))


def test_without_fsspec_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(InputError, match=r"memory://x is read with: pip install 'imgret\[remote\]'"):
        files.find(["memory://x"])


def test_a_filesystem_that_is_unknown_or_not_installed_is_named():
    with pytest.raises(InputError, match="nosuch://x cannot be read: .*nosuch"):
        files.find(["nosuch://x"])


def test_images_of_a_web_server_are_listed_and_read(site):
    url, folder = site
    save(folder, "photos/2.png", 2)
    save(folder, "photos/10.png", 1)
    save(folder, "photos/deep/3.png", 3)
    (folder / "photos/notes.txt").write_text("x")
    listing = files.find([f"{url}/photos/"])
    assert ids(listing) == ["10.png", "2.png", "deep/3.png"]
    assert (listing.others, listing.roots) == (1, [f"{url}/photos"])
    assert [read_bytes(image) for image in listing.images] == [
        (folder / "photos" / name).read_bytes() for name in ids(listing)
    ]
    (one,) = files.find([f"{url}/photos/2.png?size=large"]).images
    assert (one.id, one.root, one.bytes) == (
        "2.png?size=large",
        f"{url}/photos",
        (folder / "photos/2.png").stat().st_size,
    )
    assert content_sha256(one) is not None


def test_a_page_that_is_not_there_is_missing_and_a_server_that_is_down_is_not(site, tmp_path):
    url, folder = site
    (folder / "list").write_text(f"{url}/never.jpg\nhttp://127.0.0.1:9/a.jpg\n")
    listing = files.find([], list_file=folder / "list")
    assert [image.bytes for image in listing.images] == [-1, 0]
    first, second = (refusal(image) for image in listing.images)
    assert (first.reason, first.retry) == ("missing", True)
    assert (second.reason, second.retry) == ("unreadable", True)
    with pytest.raises(InputError, match="never.jpg: no such file"):
        files.find([f"{url}/never.jpg"])
    with pytest.raises(InputError, match="cannot be reached"):
        files.find(["http://127.0.0.1:9/a.jpg"])
    assert not remote.is_lost("http://127.0.0.1:9/a.jpg")


@pytest.mark.parametrize(("megabytes", "sound"), [(0, True), (12, False)])
def test_archives_of_a_server_without_ranges_are_read_where_small_and_else_refused_in_words(site, megabytes, sound):
    url, folder = site  # Python's own server always gives the whole file
    with tarfile.open(folder / "set.tar", "w") as archive:
        save(folder, "1.png", 1)
        (folder / "large.txt").write_bytes(bytes(megabytes << 20))
        archive.add(folder / "large.txt", "large.txt")
        archive.add(folder / "1.png", "1.png")
    if sound:
        (image,) = files.find([f"{url}/set.tar"]).images
        assert read_bytes(image) == (folder / "1.png").read_bytes()
    else:
        with pytest.raises(InputError, match=r"set\.tar cannot be read from the middle .*copy it here first"):
            files.find([f"{url}/set.tar"])


def test_workers_read_urls_as_the_main_process_does(site):
    url, folder = site
    for number in range(8):
        save(folder, f"photos/{number}.png", number)
    images = files.find([f"{url}/photos/"]).images
    found = [result for _, result in decode_stream(images, DecodeRule(32), workers=2)]
    assert [one.sha256 for one in found] == [content_sha256(image) for image in images]


def test_a_compressed_archive_is_refused_behind_a_url_too(bucket):
    with pytest.raises(InputError, match="compressed as a whole"):
        files.find(["memory://bucket/set.tar.gz"])


def test_a_name_with_colons_is_no_chain_of_urls(bucket):
    bucket.pipe("/bucket/a/f::g.png", png(6))
    (image, _) = files.find(["memory://bucket/a"]).images
    assert (image.id, read_bytes(image)) == ("f::g.png", png(6))
    assert ids(files.find(["memory://bucket/a/f::g.png"])) == ["f::g.png"]
    assert ids(files.find(["MEMORY://bucket/a/f::g.png"])) == ["f::g.png"]


def test_a_filesystem_that_cannot_be_made_of_a_url_alone_is_refused_in_words(tmp_path):
    (tmp_path / "list").write_text("zip://a/\n")
    with pytest.raises(InputError, match="zip://a/? cannot be reached"):
        files.find(["zip://a"])
    with pytest.raises(InputError, match="zip://a/ cannot be reached"):
        files.find([], list_file=tmp_path / "list")


def test_workers_say_that_memory_is_of_one_process(bucket):
    for number in range(8):  # fewer are read by this process
        bucket.pipe(f"/bucket/a/{number}.png", png(number))
    images = files.find(["memory://bucket/a"]).images
    found = {(one.reason, one.message) for _, one in decode_stream(images, DecodeRule(32), workers=1)}
    assert found == {("unreadable", "memory:// lives in one process: take --workers 0")}


def test_an_emptied_folder_behind_a_url_was_looked_in(bucket):
    bucket.makedirs("/bucket/none")
    assert files.find(["memory://bucket/none", "memory://bucket/a"]).roots == [
        "memory://bucket/none",
        "memory://bucket/a",
    ]
