from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from imgret.errors import RankingError, UnknownNameError
from imgret.evaluation.evaluate import evaluate
from imgret.ground_truth import disc21, gldv2, holidays
from imgret.ranking_files import RANKING_FORMATS, detect, gathering, load
from imgret.tables import resolve

FILES = {
    "search": b'{"schema": "imgret.search/1", "query": "q", "results": [{"rank": 1, "id": "a", "score": 0.5}]}\n',
    "holidays": b"100000.jpg 0 100000.jpg 1 100001.jpg\n",
    "gldv2": b"id,images\nq,a b\nr,\n",
    "gldv2-recognition": b"id,landmarks\nq,17 0.5\nr,\n",
    "trec": b"q Q0 d1 1 0.5 run\n",
    "disc21": b"query_id,reference_id,score\nQ1,R1,0.5\n",
}


@pytest.fixture
def read(tmp_path):
    """read(content, format): query -> [(name, score), ...] of a result file."""

    def one(content, format="auto"):
        (tmp_path / "f").write_bytes(content)
        ranking = load(tmp_path / "f", format)
        assert ranking.rows.dtype == np.int32
        return {
            query: [(ranking.database[row], score) for row, score in ranking.hits(number)]
            for number, query in enumerate(ranking.queries)
        }

    return one


def test_every_row_has_a_sample_and_a_reader():
    assert FILES.keys() == RANKING_FORMATS.keys()
    for row in RANKING_FORMATS.values():
        assert callable(resolve(row.reader))
        assert row.summary


@pytest.mark.parametrize("format", FILES)
def test_a_file_is_recognised_and_read(tmp_path, read, format):
    plain = read(FILES[format])
    assert detect(tmp_path / "f") == format
    assert plain
    assert read(FILES[format], format) == plain


@pytest.mark.parametrize("format", [name for name in FILES if name != "search"])
def test_byte_order_marks_windows_lines_blanks_and_blank_lines_change_nothing(read, format):
    plain = read(FILES[format])
    assert read(b"\xef\xbb\xbf\r\n" + FILES[format].replace(b"\n", b"  \r\n\r\n")) == plain


@pytest.mark.parametrize(
    ("format", "name"),
    [("holidays", b"100001.jpg"), ("gldv2", b"a"), ("gldv2-recognition", b"17"), ("trec", b"d1"), ("disc21", b"R1")],
)
def test_names_that_are_not_utf8_are_read_byte_for_byte(read, format, name):
    content = FILES[format].replace(b" " + name, b" \xe9").replace(b"," + name, b",\xe9")
    assert b"\xe9" in content
    assert any("\udce9" in found for answer in read(content, format).values() for found, _ in answer)


@pytest.mark.parametrize("format", FILES)
def test_an_empty_file_and_none_at_all(tmp_path, format):
    with pytest.raises(RankingError, match="gone cannot be read"):
        load(tmp_path / "gone", format)
    (tmp_path / "empty").write_bytes(b"")
    assert load(tmp_path / "empty", format).rows.shape == (0, 0)
    with pytest.raises(RankingError, match="cannot tell the format of .*empty: it is empty"):
        load(tmp_path / "empty")


def test_holidays_ranks_stand_in_any_order(read):
    assert read(b"q.jpg 2 c.jpg 0 a.jpg 1 b.jpg\n") == {"q.jpg": [("a.jpg", 0), ("b.jpg", -1), ("c.jpg", -2)]}


def test_a_place_between_the_ranks_stays_taken(tmp_path):
    # a result file may name the positives alone; this one is on place 2 of 0, 1, 2: (0/2 + 1/3) / 2 = 1/6.
    # The query's own image on place 0 moves it up by one: (0/1 + 1/2) / 2 = 1/4
    truth = holidays.read("l.dat", b"100000.jpg\n100001.jpg\n")
    for content, ap in ((b"100000.jpg 2 100001.jpg\n", 1 / 6), (b"100000.jpg 2 100001.jpg 0 100000.jpg\n", 1 / 4)):
        (tmp_path / "r.dat").write_bytes(content)
        scores = evaluate(truth, [load(tmp_path / "r.dat")], whole_database=False)
        assert scores.per_query[0].ap == pytest.approx(ap)


def test_a_query_may_be_answered_by_nothing(read):
    assert read(b"q.jpg\n", "holidays") == {"q.jpg": []}


def test_a_repeated_image_takes_its_place_up_in_vain(read):
    found = read(b"id,images\nq,x x y\n")["q"]
    assert [found[0], found[2]] == [("x", 0), ("y", -2)]
    assert found[1][0] == gathering.placeholder(1)


def test_a_submission_is_scored_as_officially(tmp_path):
    # q1 wants {x, y} and gets (x, x, y): (1/1 + 2/3) / 2 = 5/6; q2 wants {z} and gets it: 1. Their mean is 11/12
    truth = gldv2.read("s.csv", b"id,images\nq1,x y\nq2,z\n")
    (tmp_path / "s.csv").write_bytes(b"id,images\nq1,x x y\nq2,z\n")
    scores = evaluate(truth, [load(tmp_path / "s.csv")], whole_database=False)
    assert np.mean([score.ap for score in scores.per_query]) == pytest.approx(11 / 12)


def test_an_empty_recognition_is_no_prediction(read):
    assert read(FILES["gldv2-recognition"]) == {"q": [("17", 0.5)], "r": []}


def test_trec_goes_by_score_and_then_by_falling_name_whatever_the_ranks_say(read):
    # trec_eval compares the scores in single precision, where 0.1 and 0.1 + 1e-9 are one number
    content = b"q Q0 a 1 0.1 t\nq Q0 c 2 0.1 t\nr Q0 a 9 1 t\nq Q0 B 3 0.100000001 t\nq Q0 b 4 7e-1 t\n"
    found = read(content)
    assert [name for name, _ in found["q"]] == ["b", "c", "a", "B"]
    assert [score for _, score in found["q"][1:]] == [float(np.float32(0.1))] * 3
    assert found["r"] == [("a", 1)]


@pytest.mark.parametrize("header", [b"", b"query_id,reference_id,score\n"])
def test_predictions_come_in_any_order_and_equal_scores_stay_equal(read, header):
    found = read(header + b"Q1,R2,0.5\nQ2,R1,-3\nQ1,R3,0.9\nQ1,R1,0.5\n")
    assert found == {"Q1": [("R3", 0.9), ("R1", 0.5), ("R2", 0.5)], "Q2": [("R1", -3)]}


def test_scores_of_predictions_are_not_rounded_into_ties(tmp_path):
    # 0.1 and 0.100000001 are one number in float32; then the wrong pair would come first: 1/2 instead of 1
    truth = disc21.read("g.csv", b"Q1,R1\nQ2,\n")
    (tmp_path / "p.csv").write_bytes(b"Q1,R1,0.100000001\nQ2,R9,0.1\n")
    scores = evaluate(truth, [load(tmp_path / "p.csv")], whole_database=False)
    assert scores.subsets["all"]["micro_ap"] == 1


@pytest.mark.parametrize(
    ("format", "content", "message"),
    [
        ("holidays", b"q 0 a 1\n", "line 1: query q: a rank without an image"),
        ("holidays", b"q 0 a\nq 0 b\n", "line 2: q stands on line 1 already"),
        ("holidays", b"q 0 a 0 b\n", "line 1: query q: a and b both have rank 0"),
        ("holidays", b"q 0 a 1 a\n", "line 1: query q: a stands in it twice"),
        ("holidays", b"q x a\n", "line 1: query q: the rank 'x' is no whole number from 0 to 99,999"),
        ("holidays", b"q -1 a\n", "the rank '-1' is no whole number"),
        ("holidays", b"q 99999999999 a\n", "the rank '99999999999' is no whole number"),
        ("gldv2", b"id,images\nq,a\nr,\nq,b\n", "line 4: q stands on line 2 already"),
        ("gldv2", b"id,images\n,a\n", "line 2: the id is empty"),
        ("gldv2", b"id,images\nq,a,b\n", "line 2: expected id,images, got 'q,a,b'"),
        ("gldv2", b"id,pictures\nq,a\n", "has no column images"),
        (
            "gldv2-recognition",
            b"id,landmarks\nq,17\n",
            "line 2: query q: expected one landmark and its score, got '17'",
        ),
        ("gldv2-recognition", b"id,landmarks\nq,1 2 3 4\n", "expected one landmark and its score, got '1 2 3 4'"),
        ("gldv2-recognition", b"id,landmarks\nq,17 nan\n", "line 2: the score 'nan' is not a number"),
        ("trec", b"q Q0 d 1 0.5 t\nq Q0 d 2 0.4 t\n", "line 2: query q: d stands in it already"),
        ("trec", b"q Q0 d 1 0.5\n", "line 1: expected query Q0 document rank score tag, got 'q Q0 d 1 0.5'"),
        ("trec", b"q Q0 d 1 NaN t\n", "line 1: the score 'NaN' is not a number"),
        ("disc21", b"Q1,R1,0.5\nQ1,R1,0.4\n", "line 2: query Q1: R1 stands in it already"),
        ("disc21", b"Q1,R1,x\n", "line 1: the score 'x' is not a number"),
        ("disc21", b"Q1,,0.5\n", "line 1: query 'Q1' with reference '': one is empty"),
        ("disc21", b"Q1,R1\n", "has no column score; its first line is 'Q1,R1'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, format, content, message):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(RankingError, match=message) as raised:
        load(tmp_path / "f", format)
    assert "\n" not in str(raised.value)


def test_a_wrong_guess_says_what_it_was_read_as(tmp_path):
    (tmp_path / "f").write_bytes(b"q Q0 d 1 0.5 t\nq Q0 d 2 0.4\n")
    with pytest.raises(RankingError, match=r"line 2.*\(read as trec, which is TREC run"):
        load(tmp_path / "f")


@pytest.mark.parametrize("content", [b"query,rank,id,score,path\nq,1,a,0.5,\n", b'[{"query": "q", "results": []}]\n'])
def test_search_output_of_another_kind_says_which_is_read(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(RankingError, match="not a line of `imgret search --format jsonl`"):
        load(tmp_path / "f")


def test_unknown_formats_and_files_of_none_are_met_with_the_known(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean trec"):
        load(tmp_path / "gone", "trek")
    (tmp_path / "f").write_bytes(b"hello\n")
    with pytest.raises(
        RankingError, match="does not begin as any of them does. Name it with --ranking-format: search, output of"
    ):
        load(tmp_path / "f")


def test_search_output_is_read_from_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(FILES["search"],))
    writer.start()
    assert load(tmp_path / "pipe").queries == ["q"]
    writer.join()


def test_a_ranking_that_would_not_fit_into_memory_is_refused_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "_MOST", 5)
    (tmp_path / "f").write_bytes(b"id,images\nq,a b c\nr,a\n")
    with pytest.raises(RankingError, match="2 queries with up to 3 places do not fit into memory"):
        load(tmp_path / "f")


def test_listing_formats_loads_no_numpy():
    code = "import sys, imgret.ranking_files; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
