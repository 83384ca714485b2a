from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys

import pytest

from imgret.errors import GroundTruthError, UnknownNameError
from imgret.ground_truth import FORMATS, load
from imgret.tables import resolve

DATA = {
    "imlist": ["a", "b"],
    "qimlist": ["q"],
    "gnd": [{"bbx": [0, 0, 5, 5], "easy": [0], "hard": [], "junk": [1]}],
}


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("gnd.pkl", pickle.dumps(DATA, 2), "revisitop"),
        ("gnd", pickle.dumps(DATA, 0), "revisitop"),
        ("gnd.dat", pickle.dumps(DATA, 1), "revisitop"),
        ("gnd.json", json.dumps(DATA).encode(), "revisitop"),
        ("gnd", b"\xef\xbb\xbf \n" + json.dumps(DATA).encode(), "revisitop"),
        ("l.csv", b"path,label\na,x\nb,x\n", "labels"),
        ("l.txt", b'"label",PATH\nx,a\nx,b\n', "labels"),
    ],
)
def test_the_format_is_told_from_the_file(tmp_path, name, content, format):
    (tmp_path / name).write_bytes(content)
    truth = load(tmp_path / name)
    assert truth.format == format
    assert truth.sha256 == hashlib.sha256(content).hexdigest()
    assert load(str(tmp_path / name), format).database == truth.database


def test_a_wrong_guess_names_the_option(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"hello")
    with pytest.raises(GroundTruthError, match=r"looks like no ground truth.* --format revisitop\|.*labels"):
        load(tmp_path / "x.txt")
    (tmp_path / "x.csv").write_bytes(b"hello")
    with pytest.raises(GroundTruthError, match=r"read as labels; .* --format gldv2\|gldv2-recognition\|disc21\)"):
        load(tmp_path / "x.csv")


def test_unknown_formats_and_unreadable_files(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean labels"):
        load(tmp_path / "none", "label")
    with pytest.raises(GroundTruthError, match="No such file"):
        load(tmp_path / "none")
    with pytest.raises(GroundTruthError, match="cannot tell the format .* looks like no ground truth"):
        load(tmp_path)


def test_every_row_resolves():
    for row in FORMATS.values():
        assert callable(resolve(row.reader))
        assert row.summary


def test_listing_formats_loads_no_numpy():
    code = "import sys, imgret.ground_truth, imgret.evaluation; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
