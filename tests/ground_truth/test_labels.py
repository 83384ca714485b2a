from __future__ import annotations

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth.labels import read


def positives(truth):
    """query name -> names of its positives"""
    return {
        query.name: [truth.database[row] for row in truth.judge(number, "all").positives]
        for number, query in enumerate(truth.queries)
    }


def test_without_split_every_labelled_image_queries_all_the_others():
    truth = read("l.csv", b"path,label\na1,a\nb1,b\na2,a\na3,a\nnone,\n")
    assert truth.database == ["a1", "b1", "a2", "a3", "none"]
    assert positives(truth) == {"a1": ["a2", "a3"], "b1": [], "a2": ["a1", "a3"], "a3": ["a1", "a2"]}
    assert truth.judge(0, "all").positives.dtype == "int32"
    assert len(truth.judge(0, "all").junk) == 0
    assert (truth.format, truth.rules.ap, truth.rules.precision) == ("labels", "finite", "plain")


def test_split_says_who_queries_whom():
    content = b"split,path,label,more\nquery,q,a,1\ndatabase,d,a,2\nboth,x,a,3\nquery,r,z,\nboth,y,,\n"
    truth = read("l.csv", content)
    assert truth.database == ["d", "x", "y"]
    assert positives(truth) == {"q": ["d", "x"], "x": ["d"], "r": []}


def test_byte_order_mark_quotes_and_foreign_bytes():
    truth = read("l.csv", b'\xef\xbb\xbfpath,label\r\n"a, b.jpg","x ""y"""\r\ncaf\xe9.jpg,"x ""y"""\r\n')
    assert truth.database == ["a, b.jpg", "caf\udce9.jpg"]
    assert positives(truth)["a, b.jpg"] == ["caf\udce9.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"path,name\na,b\n", "no column label; its columns are path, name"),
        (b"a,b\n1,2\n", "no column path and no column label"),
        (b"path,label\n", "no query"),
        (b"path,label\na,\nb,\n", "no query"),
        (b"path,label\na,x\nb,x\na,y\n", "line 4: a stands on line 2 already"),
        (b"path,label\na\n", "line 2: a field is missing"),
        (b"path,label\n,x\n", "line 2: a field is missing"),
        (b"path,label,split\na,x,train\n", "line 2: split 'train' is none of query, database, both"),
        (b"path,label,split\na,x,query\n", "no database image"),
        (b"path,label,split\na,,query\n", "query a has no label"),
        (b'path,label\n"a,x\n', "not a CSV line"),
        (b"path,label\na,b.jpg,cat\n", "line 2: more fields than columns; put a path with a comma in quotes"),
        (b"path,label,path\na,b,c\n", "l.csv names a column twice: path, label, path"),
    ],
)
def test_what_is_wrong_is_said(content, message):
    with pytest.raises(GroundTruthError, match=message):
        read("l.csv", content)
