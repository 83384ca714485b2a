"""What the user said of pairs is kept, by content."""

from __future__ import annotations

import pytest

from imgret.duplicates.decisions import Decisions, content
from imgret.errors import InputError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def test_what_was_said_of_every_two_is_there_again(tmp_path):
    said = Decisions(tmp_path / "d.csv")
    assert said.say("different", [(C, "c.jpg"), (A, "a\udcff.jpg"), (B, "b.jpg")]) == 3
    said.save()
    again = Decisions(tmp_path / "d.csv")
    assert sorted(again.pairs("different")) == [(A, B), (A, C), (B, C)]
    assert again.verdict(C, A) == "different"
    assert again.verdict(A, A) is None


def test_the_last_word_counts(tmp_path):
    said = Decisions(tmp_path / "d.csv")
    said.say("different", [(A, "a"), (B, "b")])
    assert said.say("different", [(B, "b"), (A, "a")]) == 0
    assert said.say("same", [(B, "b"), (A, "a")]) == 1
    assert (said.pairs("different"), said.pairs("same")) == ([], [(A, B)])


def test_two_copies_of_one_file_are_a_pair(tmp_path):
    said = Decisions(tmp_path / "d.csv")
    assert said.say("same", [(A, "one.jpg"), (A, "two.jpg")]) == 1
    said.save()
    assert Decisions(tmp_path / "d.csv").verdict(A, A) == "same"


@pytest.mark.parametrize(
    "text",
    [
        "path,reason\nx,y\n",
        '{"one": "line of another file"}\n',
        'first,second,verdict,first_id,second_id\n"' + "x" * 200_000 + "\n",
        f"first,second,verdict,first_id,second_id\n{A},{B},maybe,a,b\n",
        f"first,second,verdict,first_id,second_id\n{B},{A},same,a,b\n",
        f"first,second,verdict,first_id,second_id\n{A},b,same,a,b\n",
        f"first,second,verdict,first_id,second_id\n{A}\n",
    ],
)
def test_another_file_is_refused_and_stays(tmp_path, text):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(InputError, match=r"d\.csv is no decisions file"):
        Decisions(tmp_path / "d.csv")
    assert (tmp_path / "d.csv").read_text() == text


def test_crops_of_one_file_are_different_contents():
    assert content(b"\xab" * 32, None) == "ab" * 32
    assert content(b"\xab" * 32, [0, 0, 9, 9]) == content(b"\xab" * 32, (0, 0, 9, 9)) != "ab" * 32
    assert content(b"\xab" * 32, [0, 0, 9, 9]) != content(b"\xab" * 32, [0, 0, 9, 8])
