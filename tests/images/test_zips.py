from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imgret.errors import InputError
from imgret.images import files, zips
from imgret.images.decode import Decoded, DecodeRule, decode
from imgret.images.files import ImageFile, Listing
from imgret.images.reading import RefusedError, read_bytes
from tests.pictures import textured


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    textured(seed).save(buffer, "PNG")
    return buffer.getvalue()


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip archive whose members all carry the time 1980-01-01."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def listed(path: Path) -> Listing:
    return files.find([str(path)], root=path.parent)


def only(path: Path) -> ImageFile:
    (image,) = listed(path).images
    return image


def refusal(image: ImageFile):
    with pytest.raises(RefusedError) as caught:
        read_bytes(image)
    return caught.value.why


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_in_place_stored_or_deflated(tmp_path, method):
    path = packed(tmp_path / "set.zip", {"b.png": png(1), "./sub/a.png": png(2), "notes.txt": b"x"}, method)
    listing = listed(path)
    assert [image.id for image in listing.images] == ["set.zip/b.png", "set.zip/sub/a.png"]
    assert listing.others == 1
    assert [read_bytes(image) for image in listing.images] == [png(1), png(2)]
    assert isinstance(decode(listing.images[0], DecodeRule(64)), Decoded)
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text("aé/b ", min_size=1).map(lambda name: f"x{name}y.jpg"), st.binary(min_size=1), min_size=1),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=50),
    st.binary(max_size=50),
)
@example({"a.png": b"1"}, zipfile.ZIP_STORED, b"", b"PK\5\6 is how a directory ends")
@example({"a.png": b"1"}, zipfile.ZIP_STORED, b"", b"PK\5\6" + bytes(30))
def test_what_the_standard_library_packs_is_listed_and_unpacked(tmp_path, members, method, before, comment):
    path = tmp_path / "set.zip"
    path.write_bytes(before)  # as before an archive that unpacks itself
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.comment = comment
        for name, data in members.items():
            archive.writestr(name, data)
    found = listed(path).images
    assert {image.id.removeprefix("set.zip/"): read_bytes(image) for image in found} == members


def test_zip64_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive, archive.open("a.png", "w", force_zip64=True) as member:
        member.write(png(1))
    assert read_bytes(only(tmp_path / "set.zip")) == png(1)


def test_a_directory_in_zip64_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)  # so sizes and offsets stand in the extra fields too
    path = packed(tmp_path / "set.zip", {"a.png": png(1), "b.png": png(2)})
    monkeypatch.undo()
    assert b"PK\6\6" in path.read_bytes()
    assert [read_bytes(image) for image in listed(path).images] == [png(1), png(2)]


def test_hidden_members_folders_and_links_are_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", png(1))
        archive.writestr("folder.png/", b"")
        archive.writestr(".hidden.png", png(1))
        archive.writestr("x/.deep/b.png", png(1))
        archive.writestr("__MACOSX/._a.png", b"resource fork")
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "a.png")
    assert only(tmp_path / "set.zip").id == "set.zip/a.png"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_members_with_one_name_the_last_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", png(1))
        archive.writestr("b.png", png(2))
        archive.writestr("a.png", png(3))
    assert {image.id: read_bytes(image) for image in listed(tmp_path / "set.zip").images} == {
        "set.zip/a.png": png(3),
        "set.zip/b.png": png(2),
    }


def test_a_change_shows_although_all_members_carry_one_time(tmp_path):
    one, other = (only(packed(tmp_path / "set.zip", {"a.png": data})) for data in (b"12345", b"54321"))
    assert one.mtime_ns != other.mtime_ns
    assert one.mtime_ns // 10**9 == other.mtime_ns // 10**9 == 315532800  # 1980-01-01 in seconds since 1970


def test_the_time_of_a_member_is_its_own(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.png", (2001, 9, 9, 1, 46, 40)), b"x")
    assert only(tmp_path / "set.zip").mtime_ns // 10**9 == 1_000_000_000  # that many seconds after 1970 began


def test_an_encrypted_member_fails_alone_and_in_words(tmp_path):
    path = packed(tmp_path / "set.zip", {"a.png": png(1), "b.png": png(2)})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1  # the flag in the directory's first entry
    path.write_bytes(raw)
    first, second = listed(path).images
    assert (refusal(first).reason, "encrypted" in refusal(first).message) == ("unsupported", True)
    assert read_bytes(second) == png(2)


def test_another_method_is_named(tmp_path):
    why = refusal(only(packed(tmp_path / "set.zip", {"a.png": png(1)}, zipfile.ZIP_BZIP2)))
    assert (why.reason, why.retry) == ("unsupported", True)
    assert "method 12" in why.message


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_damage_to_a_member_is_noticed(tmp_path, method):
    path = packed(tmp_path / "set.zip", {"a.png": bytes(range(256)) * 4}, method)
    raw = path.read_bytes()
    begin, end = 30 + len("a.png"), raw.index(b"PK\1\2")
    for place in range(begin, end, max(1, (end - begin) // 40)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x40]) + raw[place + 1 :])
        assert refusal(only(path)).reason in ("unreadable", "truncated")


def test_a_member_that_is_larger_than_it_says_is_not_unpacked_whole(tmp_path):
    path = packed(tmp_path / "set.zip", {"a.png": bytes(10_000_000)})
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\1\2")
    raw[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    path.write_bytes(raw)
    image = only(path)
    data = raw[30 + len("a.png") :][: image.packed.bytes]
    assert image.bytes == 100
    assert refusal(image).reason == "unreadable"
    with pytest.raises(zips.BadZipError, match="checksum"):
        zips.unpack(bytes(data), image.packed, 100)


def test_an_archive_that_was_cut_after_it_was_listed_gives_truncated_images(tmp_path):
    path = packed(tmp_path / "set.zip", {"a.png": png(1)}, zipfile.ZIP_STORED)
    image = only(path)
    os.truncate(path, 100)
    assert refusal(image).reason == "truncated"
    os.truncate(path, 20)
    assert refusal(image).reason == "unreadable"
    path.unlink()
    assert refusal(image).reason == "missing"


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\5\6" + bytes(10), b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_zip_is_refused_in_words(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(InputError, match="not a sound zip archive"):
        listed(tmp_path / "x.zip")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_to_a_directory_raises_anything_else(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("b/c.png", b"2" * 50)
    raw = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(raw.index(b"PK\1\2"), len(raw) - 1), min_size=1, max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    try:
        for member in zips.members(io.BytesIO(raw)):
            assert isinstance(member.name, str)
    except zips.BadZipError:
        pass


def test_names_are_utf8_marked_or_not_else_of_the_first_pcs():
    assert zips._name("é.png".encode(), marked=False) == "é.png"
    assert zips._name(b"\x82.png", marked=False) == "é.png"  # 0x82 in code page 437
    assert zips._name(b"\x82.png", marked=True) == "\udc82.png"


def test_the_checksum_is_that_of_the_format():
    member = zips.Packed(zips.STORED, 9, 0xCBF43926, False)  # the check value of CRC-32: that of "123456789"
    assert zips.unpack(b"123456789", member, 9) == b"123456789"
    assert zlib.crc32(b"123456789") == 0xCBF43926


def test_a_damaged_zip_beside_others_is_a_note(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK" * 40)
    good = packed(tmp_path / "good.zip", {"a.png": png(1)})
    listing = files.find([str(tmp_path / "bad.zip"), str(good)], root=tmp_path)
    assert [image.id for image in listing.images] == ["good.zip/a.png"]
    assert "bad.zip is not a sound zip archive" in listing.notes[0]
    assert listing.archives == {str(good)}


def test_members_of_a_zip_outside_of_it_are_counted_as_others(tmp_path):
    listing = listed(packed(tmp_path / "set.zip", {"a.png": b"x", "../b.png": b"x", "c/../../d.png": b"x"}))
    assert ([image.id for image in listing.images], listing.others) == (["set.zip/a.png"], 2)


def test_absolute_names_are_meant_below_the_archive(tmp_path):
    path = packed(tmp_path / "set.zip", {"/abs/a.png": b"x"})
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        member = tarfile.TarInfo("/abs/b.png")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    assert [image.id for image in listed(path).images] == ["set.zip/abs/a.png"]
    assert [image.id for image in listed(tmp_path / "set.tar").images] == ["set.tar/abs/b.png"]
