from __future__ import annotations

import io
import os
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from imgret.errors import InputError
from imgret.images import files
from imgret.images.reading import content_sha256
from tests.pictures import save, textured


def ids(listing: files.Listing) -> list[str]:
    return [image.id for image in listing.images]


def test_a_folder_gives_its_images_in_byte_order_of_their_ids(tmp_path):
    for name in ("b.jpg", "a/2.png", "a/10.png", "Z.jpg"):
        save(tmp_path, name, 1)
    assert ids(files.find([str(tmp_path)])) == ["Z.jpg", "a/10.png", "a/2.png", "b.jpg"]


def test_hidden_files_and_folders_are_left_out_and_others_are_counted(tmp_path):
    save(tmp_path, "a.jpg", 1)
    save(tmp_path, ".hidden.jpg", 2)
    save(tmp_path, ".folder/b.jpg", 3)
    (tmp_path / "notes.txt").write_text("not an image")
    listing = files.find([str(tmp_path)])
    assert ids(listing) == ["a.jpg"]
    assert listing.others == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_are_followed_and_loops_are_not(tmp_path):
    save(tmp_path, "photos/a.jpg", 1)
    save(tmp_path, "elsewhere/b.jpg", 2)
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos")
    listing = files.find([str(tmp_path / "photos")])
    assert ids(listing) == ["a.jpg", "linked/b.jpg"]
    assert any("looked at already" in note for note in listing.notes)


def test_a_dangling_link_is_listed_as_missing(tmp_path):
    save(tmp_path, "a.jpg", 1)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert [image.missing for image in files.find([str(tmp_path)]).images] == [False, True]


def test_files_and_globs_have_ids_relative_to_the_current_folder(tmp_path, monkeypatch):
    save(tmp_path, "x/1.jpg", 1)
    save(tmp_path, "x/2.jpg", 2)
    save(tmp_path, "x/deep/3.jpg", 3)
    monkeypatch.chdir(tmp_path)
    assert ids(files.find(["x/2.jpg", "x/1.jpg"])) == ["x/2.jpg", "x/1.jpg"]
    assert ids(files.find(["x/*.jpg"])) == ["x/1.jpg", "x/2.jpg"]
    assert ids(files.find(["x/**/*.jpg"])) == ["x/1.jpg", "x/2.jpg", "x/deep/3.jpg"]


def test_root_overrides_what_ids_are_relative_to(tmp_path):
    save(tmp_path, "x/1.jpg", 1)
    save(tmp_path, "y/1.jpg", 2)
    listing = files.find([str(tmp_path / "x"), str(tmp_path / "y")], root=tmp_path)
    assert ids(listing) == ["x/1.jpg", "y/1.jpg"]


def test_one_id_from_two_folders_is_refused_with_the_way_out(tmp_path):
    save(tmp_path, "x/1.jpg", 1)
    save(tmp_path, "y/1.jpg", 2)
    with pytest.raises(InputError, match=r"two images have the id 1\.jpg.*--root"):
        files.find([str(tmp_path / "x"), str(tmp_path / "y")])


def test_what_does_not_exist_or_holds_no_images_is_said(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        files.find([str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="no file matches"):
        files.find([str(tmp_path / "*.jpg")])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="no images found.*1 other files"):
        files.find([str(tmp_path)])


def test_a_list_keeps_its_order_and_its_missing_files(tmp_path, monkeypatch):
    save(tmp_path, "b.jpg", 1)
    save(tmp_path, "a.jpg", 2)
    listed = tmp_path / "list.txt"
    listed.write_text("b.jpg\r\nnever.jpg\na.jpg\n")
    monkeypatch.chdir(tmp_path)
    listing = files.find([], list_file=listed)
    assert ids(listing) == ["b.jpg", "never.jpg", "a.jpg"]
    assert [image.missing for image in listing.images] == [False, True, False]


def test_a_csv_list_brings_ids_and_boxes(tmp_path, monkeypatch):
    save(tmp_path, "a.jpg", 1)
    listed = tmp_path / "list.csv"
    listed.write_text("path,id,x1,y1,x2,y2\na.jpg,,1,2,30,40\na.jpg,whole,,,,\n")
    monkeypatch.chdir(tmp_path)
    listing = files.find([], list_file=listed)
    assert [(image.id, image.box) for image in listing.images] == [
        ("a.jpg#1,2,30,40", (1, 2, 30, 40)),
        ("whole", None),
    ]


@pytest.mark.parametrize("box", ["5,5,5,9", "-1,0,3,3", "1,2,3,"])
def test_an_impossible_box_in_a_list_names_its_line(tmp_path, box, monkeypatch):
    listed = tmp_path / "list.csv"
    listed.write_text(f"path,x1,y1,x2,y2\na.jpg,{box}\n")
    with pytest.raises(InputError, match="line 2"):
        files.find([], list_file=listed)


def test_standard_input_may_be_separated_by_newlines_or_nul(tmp_path, monkeypatch):
    save(tmp_path, "a.jpg", 1)
    save(tmp_path, "b\nc.jpg", 2)
    monkeypatch.chdir(tmp_path)
    for content in (b"a.jpg\0b\nc.jpg\0",):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert ids(files.find(["-"])) == ["a.jpg", "b\nc.jpg"]


def test_a_tar_is_read_in_place_by_offset(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    textured(1).save(buffer, "PNG")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name, data in (
            ("0001.png", buffer.getvalue()),
            ("0001.cls", b"3"),
            ("./sub/2.png", buffer.getvalue()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    monkeypatch.chdir(tmp_path)
    listing = files.find(["set.tar"])
    assert ids(listing) == ["set.tar/0001.png", "set.tar/sub/2.png"]
    assert listing.others == 1
    first = listing.images[0]
    with open(first.path, "rb") as file:
        file.seek(first.offset)
        assert file.read(first.bytes) == buffer.getvalue()


def test_a_compressed_or_broken_tar_is_refused_in_words(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(InputError, match="uncompressed tar"):
        files.find([str(tmp_path / "x.tar")])


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar.zst"])
def test_an_archive_compressed_as_a_whole_is_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(InputError, match=r"compressed as a whole.*a plain \.tar"):
        files.find([str(tmp_path / name)])


def test_a_tar_that_is_cut_short_gives_what_is_whole_and_a_note(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for number in range(3):
            archive.add(save(tmp_path, f"{number}.png", number), f"{number}.png")
    with tarfile.open(tmp_path / "set.tar") as archive:
        second = archive.getmembers()[1]
    os.truncate(tmp_path / "set.tar", second.offset_data + second.size // 2)
    monkeypatch.chdir(tmp_path)
    listing = files.find(["set.tar"])
    assert ids(listing) == ["set.tar/0.png", "set.tar/1.png"]  # the second fails when it is read
    assert content_sha256(listing.images[1]) is None
    assert "set.tar is cut short" in listing.notes[0]


def test_hidden_members_of_a_tar_are_left_out_as_hidden_files_are(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name in ("a.png", ".b.png", "x/.y/c.png", "__MACOSX/d.png"):
            archive.add(save(tmp_path, "one.png", 1), name)
    monkeypatch.chdir(tmp_path)
    assert ids(files.find(["set.tar"])) == ["set.tar/a.png"]


def test_shards_may_be_named_in_braces(tmp_path, monkeypatch):
    for number in range(9, 12):
        with tarfile.open(tmp_path / f"s-{number:03d}.tar", "w") as archive:
            archive.add(save(tmp_path, "one.png", number), "1.png")
    monkeypatch.chdir(tmp_path)
    assert ids(files.find(["s-{009..011}.tar"])) == [f"s-{number:03d}.tar/1.png" for number in range(9, 12)]
    with pytest.raises(InputError, match=r"s-012\.tar: no such file"):
        files.find(["s-{009..012}.tar"])
    save(tmp_path, "{0..1}.png", 1)  # a file that is really called so
    assert ids(files.find(["{0..1}.png"])) == ["{0..1}.png"]


def test_parts_are_disjoint_and_complete_and_follow_the_hash(tmp_path):
    for number in range(20):
        save(tmp_path, f"{number}.png", number, (8, 8))
    parts = [ids(files.find([str(tmp_path)], part=(i, 3))) for i in (1, 2, 3)]
    assert sorted(sum(parts, [])) == sorted(f"{number}.png" for number in range(20))
    expected = [n for n in parts[0] if int(sha256(n.encode()).hexdigest(), 16) % 3 == 0]
    assert parts[0] == expected


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that keeps any bytes")
def test_names_that_are_not_text_survive(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    textured(1).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", raw)
    (image,) = files.find([str(tmp_path)]).images
    assert image.id.encode("utf-8", "surrogateescape") == b"\xff\xfe.png"


def test_a_single_file_outside_the_current_folder_still_has_a_relative_id(tmp_path, monkeypatch):
    path = save(tmp_path, "a.jpg", 1)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert ids(files.find([str(path)])) == ["../a.jpg"]


def test_camera_raw_names_count_as_images_so_that_they_are_reported(tmp_path):
    (tmp_path / "x.NEF").write_bytes(b"raw")
    assert ids(files.find([str(tmp_path)])) == ["x.NEF"]


def test_path_objects_are_not_needed_for_the_listing_to_know_its_roots(tmp_path):
    save(tmp_path, "a.jpg", 1)
    assert files.find([str(tmp_path)]).roots == [str(Path(tmp_path).absolute())]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_to_itself_hides_nothing_beside_it(tmp_path):
    save(tmp_path, "a.jpg", 1)
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    assert [(image.id, image.missing) for image in files.find([str(tmp_path)]).images] == [
        ("a.jpg", False),
        ("self.jpg", True),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_folders_that_link_to_one_another_are_each_looked_at_once(tmp_path):
    for number in range(8):
        save(tmp_path, f"{number}/x.jpg", number)
    for one in range(8):
        for other in range(8):
            if one != other:
                (tmp_path / f"{one}/to-{other}").symlink_to(tmp_path / str(other))
    assert len(files.find([str(tmp_path)]).images) <= 16


def test_a_pipe_is_neither_waited_for_nor_an_image(tmp_path):
    save(tmp_path, "a.jpg", 1)
    os.mkfifo(tmp_path / "pipe.jpg")
    assert ids(files.find([str(tmp_path)])) == ["a.jpg"]
    with pytest.raises(InputError, match="neither a file nor a folder"):
        files.find([str(tmp_path / "pipe.jpg")])


def test_the_last_of_two_members_with_one_name_counts_and_links_are_resolved(tmp_path, monkeypatch):
    save(tmp_path, "a.png", 1)
    save(tmp_path, "b.png", 2, (30, 30))
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "x.png")
        archive.add(tmp_path / "b.png", "x.png")
        link = tarfile.TarInfo("y.png")
        link.type, link.linkname = tarfile.LNKTYPE, "x.png"
        archive.addfile(link)
    monkeypatch.chdir(tmp_path)
    listing = files.find(["set.tar"])
    assert ids(listing) == ["set.tar/x.png", "set.tar/y.png"]
    assert {image.bytes for image in listing.images} == {(tmp_path / "b.png").stat().st_size}


def test_a_glob_looks_into_folders_and_passes_over_other_files(tmp_path, monkeypatch):
    save(tmp_path, "p/a/1.jpg", 1)
    save(tmp_path, "p/2.jpg", 2)
    (tmp_path / "p/readme.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    listing = files.find(["p/*"])
    assert (sorted(ids(listing)), listing.others) == (["p/2.jpg", "p/a/1.jpg"], 1)


@pytest.mark.skipif(sys.platform == "win32", reason="needs GNU tar's sparse members")
def test_sparse_members_of_a_tar_are_left_out_and_named(tmp_path, monkeypatch):
    save(tmp_path, "b.png", 2)
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("a.png")
        member.type, member.size = tarfile.GNUTYPE_SPARSE, 512
        archive.addfile(member, io.BytesIO(b"x" * 512))
        archive.add(tmp_path / "b.png", "b.png")
    monkeypatch.chdir(tmp_path)
    listing = files.find(["set.tar"])
    assert ids(listing) == ["set.tar/b.png"]
    assert "set.tar holds sparse members, which cannot be read in place: a.png left out" in listing.notes[0]


@pytest.mark.parametrize(
    ("written", "mtime_ns"), [("nan", 0), ("1e30", 2**62), ("-1e12", -(2**62)), ("1.5", 15 * 10**8)]
)
def test_any_time_that_a_tar_tells_fits_into_a_record(tmp_path, written, mtime_ns):
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"mtime": written}
        archive.addfile(member)
    (image,) = files.find([str(tmp_path / "set.tar")]).images
    assert image.mtime_ns == mtime_ns


def test_members_outside_of_their_archive_are_counted_as_others(tmp_path):
    save(tmp_path, "a.png", 1)
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name in ("a.png", "../b.png", "x/../../c.png"):
            archive.add(tmp_path / "a.png", name)
    listing = files.find([str(tmp_path / "set.tar")], root=tmp_path)
    assert (ids(listing), listing.others) == (["set.tar/a.png"], 2)


def test_a_glob_into_a_folder_with_braces_in_its_name_takes_them_as_they_are(tmp_path, monkeypatch):
    for name in ("set{a,b}/1.png", "seta/2.png", "c/3.png", "d/4.png"):
        save(tmp_path, name, 1)
    monkeypatch.chdir(tmp_path)
    assert ids(files.find(["set{a,b}/*.png"])) == ["set{a,b}/1.png"]
    assert ids(files.find(["{c,d}/*.png"])) == ["c/3.png", "d/4.png"]


def test_what_was_looked_at_is_known_even_where_nothing_was_found(tmp_path, monkeypatch):
    save(tmp_path, "photos/a.png", 1)
    (tmp_path / "emptied").mkdir()
    with tarfile.open(tmp_path / "emptied.tar", "w"):
        pass
    monkeypatch.chdir(tmp_path)
    listing = files.find(["emptied", "photos", "emptied.tar"])
    assert listing.roots == [str(tmp_path / name) for name in ("emptied", "photos")] + [str(tmp_path)]
    assert listing.archives == {str(tmp_path / "emptied.tar")}


def test_an_archive_that_could_not_be_read_to_its_end_proves_nothing_gone(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for number in range(2):
            archive.add(save(tmp_path, f"{number}.png", number), f"{number}.png")
    with tarfile.open(tmp_path / "set.tar") as archive:
        first = archive.getmembers()[0]
    os.truncate(tmp_path / "set.tar", first.offset_data + first.size // 2)
    listing = files.find([str(tmp_path / "set.tar")])
    assert (len(listing.images), listing.archives) == (1, set())


@pytest.mark.parametrize("size", [-10240, 2**70])
def test_a_tar_with_a_member_of_impossible_size_gives_those_before_it_and_a_note(tmp_path, size):
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(save(tmp_path, "a.png", 1), "a.png")
        member = tarfile.TarInfo("b.png")
        member.size = size  # stored in base 256
        archive.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))
    listing = files.find([str(tmp_path / "set.tar")], root=tmp_path)
    assert ids(listing) == ["set.tar/a.png"]
    assert "set.tar is cut short or damaged" in listing.notes[0]
