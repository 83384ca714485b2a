from __future__ import annotations

import pytest

from imgret.errors import InputError
from imgret.lines import Once, fields, lines, read_bytes, table, words


def test_lines_are_numbered_as_an_editor_numbers_them():
    content = b"\xef\xbb\xbf first \r\n\r\n\t\nfourth"
    assert list(lines(content)) == [(1, "first"), (4, "fourth")]


def test_only_blanks_of_ascii_separate_words():
    assert words("a\xa0b c\u3000\td\udce9") == ["a\xa0b", "c\u3000", "d\udce9"]
    assert list(lines("a\u2028b\x85\n".encode())) == [(1, "a\u2028b\x85")]


def test_a_line_of_another_number_of_fields_is_named():
    assert list(fields("f.txt", b"h\na b\n", "one two", InputError, skip=1)) == [(2, ["a", "b"])]
    with pytest.raises(InputError, match=r"^f\.txt, line 2: expected one two, got 'a'$"):
        list(fields("f.txt", b"h\na\n", "one two", InputError, skip=1))


def test_columns_are_found_by_name_in_any_order_and_case():
    content = b'More, "B",a\n1,2,3\n'
    assert list(table("f.csv", content, ("a", "b"), InputError, optional=("c",))) == [(2, ["3", "2", ""])]


def test_a_headless_table_begins_with_data():
    read = {"columns": ("a", "b"), "error": InputError, "optional": ("c",), "headless": True}
    assert list(table("f.csv", b"1,2\n", **read)) == [(1, ["1", "2", ""])]
    assert list(table("f.csv", b"1,2,3\n", **read)) == [(1, ["1", "2", "3"])]
    assert list(table("f.csv", b"b,a\n1,2\n", **read)) == [(2, ["2", "1", ""])]
    with pytest.raises(InputError, match="has no column b"):
        list(table("f.csv", b"1\n", **read))


def test_what_stands_twice_is_named_with_both_lines():
    once = Once("f.txt", InputError)
    once.add(1, "a")
    once.add(2, "b\n")
    with pytest.raises(InputError, match=r"^f\.txt, line 7: b\\x0a stands on line 2 already$"):
        once.add(7, "b\n")


def test_a_file_that_cannot_be_read_is_the_callers_error(tmp_path):
    with pytest.raises(InputError, match="gone cannot be read: No such file"):
        read_bytes(tmp_path / "gone", InputError)
