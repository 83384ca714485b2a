from __future__ import annotations

import io
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.errors import InputError
from imgret.images import files, lists
from imgret.images.lists import Listed, entries


def listed(content: bytes) -> list[Listed]:
    return list(entries(io.BytesIO(content), "it"))


class Counting(io.BytesIO):
    """Bytes that remember how much of them was read."""

    taken = 0

    def read(self, size=-1):
        data = super().read(size)
        self.taken += len(data)
        return data


@given(st.lists(st.binary(min_size=1).filter(lambda raw: not set(raw) & {0, 10, 13}), max_size=20), st.integers(1, 64))
def test_lines_are_paths_wherever_the_blocks_end(names, block):
    names = [b"_" + name for name in names]  # not the header of a table
    expected = [Listed(os.fsdecode(name)) for name in names]
    was, lists._BLOCK = lists._BLOCK, max([block, *(len(name) + 1 for name in names)])
    try:
        assert listed(b"\n".join(names)) == expected
        assert listed(b"\r\n".join([*names, b""])) == expected
        if names:
            assert listed(b"\0".join([*names, b""])) == expected
    finally:
        lists._BLOCK = was


def test_a_table_is_known_by_its_header_and_may_begin_with_a_byte_order_mark():
    assert listed(b'\xef\xbb\xbf"path", "id"\r\na.jpg,x\r\n"b,c.jpg",\r\n') == [Listed("a.jpg", "x"), Listed("b,c.jpg")]
    assert listed(b"PATHS\nid\n") == [Listed("PATHS"), Listed("id")]


def test_a_cell_of_a_table_may_hold_a_newline_across_blocks(monkeypatch):
    monkeypatch.setattr(lists, "_BLOCK", 8)
    assert listed(b'path,id\n"a\nb.jpg",x\nc.jpg,y\n') == [Listed("a\nb.jpg", "x"), Listed("c.jpg", "y")]


@pytest.mark.parametrize("head", [b"", b"path,id\n"])
def test_a_list_is_read_as_it_is_used(head):
    line = b"a" * 100 + b"\n"
    file = Counting(head + line * 100_000)
    found = entries(file, "it")
    for _ in range(1000):
        next(found)
    assert file.taken <= 3 << 20  # of 10 MB
    found.close()


def test_what_has_no_lines_is_no_list():
    with pytest.raises(InputError, match="photo.jpg is no list: a line of it has more than"):
        list(entries(io.BytesIO(b"x" * (3 << 20)), "photo.jpg"))


def test_a_list_may_come_through_a_pipe_that_is_written_slowly(tmp_path):
    (tmp_path / "a.jpg").touch()
    os.mkfifo(tmp_path / "pipe")

    def write():
        with open(tmp_path / "pipe", "wb", buffering=0) as pipe:
            for piece in (b"pa", b"th,i", b"d\n", b"a.jpg", b",one\na.jpg,two\n"):
                pipe.write(piece)

    writer = threading.Thread(target=write)
    writer.start()
    listing = files.find([], list_file=tmp_path / "pipe", root=tmp_path)
    writer.join()
    assert [image.id for image in listing.images] == ["one", "two"]


def test_a_list_may_name_folders_archives_and_shards_in_braces(tmp_path):
    from tests.images.test_zips import packed

    (tmp_path / "x").mkdir()
    for name in ("x/1.jpg", "x/2.jpg", "0.jpg"):
        (tmp_path / name).touch()
    for number in range(2):
        packed(tmp_path / f"s-{number:03d}.zip", {"a.png": b"x"})
    (tmp_path / "list").write_text("0.jpg\nx\ns-{000..001}.zip\n")
    listing = files.find([], list_file=tmp_path / "list", root=tmp_path)
    assert [image.id for image in listing.images] == [
        "0.jpg",
        "x/1.jpg",
        "x/2.jpg",
        "s-000.zip/a.png",
        "s-001.zip/a.png",
    ]


def test_a_part_of_a_list_holds_only_its_own(tmp_path):
    (tmp_path / "list").write_text("".join(f"{n}.jpg\n" for n in range(100)))
    parts = [files.find([], list_file=tmp_path / "list", root=tmp_path, part=(i, 4)) for i in (1, 2, 3, 4)]
    assert [part.found for part in parts] == [100] * 4
    assert sorted(image.id for part in parts for image in part.images) == sorted(f"{n}.jpg" for n in range(100))
    assert all(part.images._records._end < 50 * 50 for part in parts)


def test_parts_of_a_list_of_folders_and_archives_are_together_the_whole(tmp_path):
    from tests.images.test_zips import packed

    names = [f"{n}.jpg" for n in range(12)]
    for folder in ("x", "y.jpg", "z.tar", "z.tar.gz"):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    packed(tmp_path / "s.zip", dict.fromkeys(names, b"x"))
    (tmp_path / "list").write_text("x\ny.jpg\nz.tar\nz.tar.gz\ns.zip\nx.jpg\n")
    whole = files.find([], list_file=tmp_path / "list", root=tmp_path)
    parts = [files.find([], list_file=tmp_path / "list", root=tmp_path, part=(i, 3)) for i in (1, 2, 3)]
    assert whole.found == 5 * 12 + 1  # x.jpg is missing, and counts
    assert [part.found for part in parts] == [whole.found] * 3
    assert sorted(one.id for part in parts for one in part.images) == sorted(one.id for one in whole.images)
    assert all(part.archives == {str(tmp_path / "s.zip")} for part in parts)


def test_a_byte_order_mark_is_no_part_of_the_first_path():
    assert listed(b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\n") == [Listed("a.jpg"), Listed("b.jpg")]
    assert listed(b"\xef\xbb\xbfa.jpg\0b.jpg\0") == [Listed("a.jpg"), Listed("b.jpg")]


def test_a_name_may_end_with_a_carriage_return():
    assert listed(b"a.jpg\r\0b.jpg\0") == [Listed("a.jpg\r"), Listed("b.jpg")]
    assert listed(b"a.jpg\r\r\nb.jpg\r\n\r\n") == [Listed("a.jpg\r"), Listed("b.jpg")]


@pytest.mark.parametrize("line", [b"b\0.jpg,x\n", b"b.jpg,x\0\n"])
def test_a_nul_in_a_table_names_its_line(line):
    with pytest.raises(InputError, match="it, line 3: .*NUL"):
        listed(b"path,id\na.jpg,\n" + line)


def test_a_nul_late_in_a_list_of_lines_names_its_line(monkeypatch):
    monkeypatch.setattr(lists, "_BLOCK", 8)
    with pytest.raises(InputError, match="it, line 3: .*NUL"):
        listed(b"a.jpg\nb.jpg\nc\0.jpg\n")
