"""Ids, rankings, tables and whole-or-nothing files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret import atomic, ranking
from imgret.errors import RankingError, SpaceError, UnknownNameError
from imgret.ids import IdTable, escape, from_bytes, to_bytes, unescape
from imgret.ranking import Ranking
from imgret.tables import look_up, resolve


@given(st.binary(max_size=40).filter(lambda raw: b"\0" not in raw))
def test_any_file_name_survives_bytes_text_and_print(raw):
    text = from_bytes(raw)
    assert to_bytes(text) == raw
    printed = escape(text)
    assert "\n" not in printed.encode("utf-8").decode()
    assert to_bytes(unescape(printed)) == raw


def test_ordinary_names_are_printed_as_they_are():
    for name in ("a/b.jpg", "é/日本 🖼.png", "with space,comma'quote.tif"):
        assert escape(name) == name


def test_the_escape_is_the_documented_one():
    assert escape("a\nb") == "a\\x0ab"
    assert escape("a\\b") == "a\\\\b"
    assert escape(from_bytes(b"\xff")) == "\\xff"


@given(st.lists(st.binary(max_size=9), max_size=20))
def test_an_id_table_is_the_list_it_was_made_of(tmp_path_factory, raw):
    table = IdTable.of(raw)
    assert [table.raw(i) for i in range(len(table))] == raw == list(table.iter_raw())
    assert list(table) == [from_bytes(one) for one in raw]
    folder = tmp_path_factory.mktemp("ids")
    table.save(folder / "b", folder / "o")
    assert IdTable.load(folder / "b", folder / "o") == table


def test_an_id_table_counts_from_the_end_and_refuses_what_is_outside():
    table = IdTable.of(["a", "b", "c"])
    assert table[-1] == "c"
    assert table[0:2] == ["a", "b"]
    with pytest.raises(IndexError):
        table[3]


def line(rows, scores):
    return Ranking(["q"], np.array([rows], np.int32), np.array([scores], np.float32), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("rows", "scores", "words"),
    [
        ([0, 0], [0.9, 0.8], "a stands in it more than once"),
        ([0, 7], [0.9, 0.8], "row 7 of 3 images"),
        ([0, -1, 1], [0.9, 0, 0.8], "a gap"),
        ([0, 1], [0.9, float("nan")], "not a number"),
        ([0, 1], [0.8, 0.9], "rise"),
    ],
)
def test_a_ranking_that_is_none_is_refused(rows, scores, words):
    with pytest.raises(RankingError, match=words):
        line(rows, scores).check()


def test_a_ranking_may_end_early_and_be_cut():
    short = line([2, 0, -1], [0.9, 0.5, -np.inf]).check()
    assert list(short.hits(0)) == [(2, pytest.approx(0.9)), (0, pytest.approx(0.5))]
    assert short.top(1).rows.tolist() == [[2]]


def test_a_ranking_is_read_from_search_output(tmp_path):
    path = tmp_path / "run.jsonl"
    hits = [{"rank": 1, "id": "a\\x0ab", "score": 0.5, "path": None}]
    path.write_text(
        json.dumps({"query": "q1", "results": hits}) + "\n\n" + json.dumps({"query": "q2", "error": "x"}) + "\n"
    )
    found = ranking.load(path)
    assert list(found.queries) == ["q1"]  # q2 was never answered
    assert list(found.database) == ["a\nb"]
    assert found.rows.tolist() == [[0]]


@pytest.mark.parametrize("text", ["{", "[]", '{"query": "q", "results": [{"id": 1}]}', '{"results": []}'])
def test_a_malformed_line_is_named(tmp_path, text):
    path = tmp_path / "run.jsonl"
    path.write_text('{"query": "ok", "results": []}\n' + text + "\n")
    with pytest.raises(RankingError, match="line 2"):
        ranking.load(path)


def test_names_are_looked_up_with_the_nearest_and_the_whole_list():
    table = {"gem": "math:pi", "glam": "math:tau"}
    assert resolve(look_up(table, "model", "gem")) == pytest.approx(3.14159, abs=1e-5)
    with pytest.raises(UnknownNameError, match=r"unknown model 'glm' \(did you mean glam\?\); known: gem, glam"):
        look_up(table, "model", "glm")


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x"
    atomic.write_text(path, "before")

    def fail(file):
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        atomic.write_with(path, fail)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_in_words_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    atomic.write_text(path, "before")

    def onto_a_full_disk(file):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(SpaceError, match="free some space|Free some space"):
        atomic.write_with(path, onto_a_full_disk)
    assert path.read_text() == "before"


def test_a_file_that_cannot_be_written_is_named_and_not_its_temporary_one(tmp_path):
    path = tmp_path / "gone" / "x"
    with pytest.raises(FileNotFoundError) as raised:
        atomic.write_text(path, "text")
    assert raised.value.filename == str(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        atomic.write_text(tmp_path / "folder", "text")  # the rename fails, not the writing
    assert str(raised.value).endswith(f"Is a directory: '{tmp_path / 'folder'}'")
    assert os.listdir(tmp_path) == ["folder"]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        atomic.write_json(tmp_path / "x", {"score": float("nan")})
