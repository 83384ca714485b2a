"""What holds for every row of FORMATS: it is recognised, read, and says what is wrong in one line."""

from __future__ import annotations

import json

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth import FORMATS, load
from imgret.ground_truth.detect import detect, look
from imgret.tables import resolve

GND = {"imlist": ["a", "b"], "qimlist": ["q"], "gnd": [{"bbx": None, "easy": [0], "hard": [], "junk": [1]}]}

# format -> the files of a ground truth with one query or more; what is read is the first, or the folder
FILES = {
    "revisitop": {"gnd.json": json.dumps(GND)},
    "gldv2": {"retrieval_solution_v2.1.csv": "id,images,Usage\nq1,a b,Public\nq2,None,Ignored\n"},
    "gldv2-recognition": {"recognition_solution_v2.1.csv": "id,landmarks,Usage\nq1,17,Public\nq2,,Private\n"},
    "disc21": {"dev_ground_truth.csv": "query_id,reference_id\nQ00000,R000001\nQ00001,\n"},
    "labels": {"l.csv": "path,label\na.jpg,x\nb.jpg,x\n"},
    "sop": {"Ebay_test.txt": "image_id class_id super_class_id path\n1 1 1 mug/1.JPG\n2 1 1 mug/2.JPG\n"},
    "inshop": {
        "list_eval_partition.txt": "2\nimage_name item_id evaluation_status\n"
        "img/a.jpg id_1 query\nimg/b.jpg id_1 gallery\n",
    },
    "trec": {"qrels.txt": "q1 0 d1 1\nq1 0 d2 0\n"},
    "hloc": {"pairs.txt": "query/a.jpg db/b.jpg\nquery/a.jpg db/c.jpg\n"},
    "holidays": {"holidays_images.dat": "100000.jpg\n100001.jpg\n"},
    "ukbench": {"list.txt": "".join(f"full/ukbench{i:05}.jpg\n" for i in range(4))},
}
FOLDERS = {
    "oxford5k": {
        "all_souls_1_query.txt": "oxc1_a 1 2 3.5 4\n",
        "all_souls_1_good.txt": "a\nb\n",
        "all_souls_1_ok.txt": "",
        "all_souls_1_junk.txt": "c\n",
        "readme.txt": "more\n",
    },
    "copydays": {"original/200000.jpg": "", "strong/200001.jpg": "", "jpegqual/75/200000.jpg": ""},
    "cub": {"images.txt": "1 101.Pewee/a.jpg\n2 101.Pewee/b.jpg\n", "image_class_labels.txt": "1 101\n2 101\n"},
    "sop": FILES["sop"],
    "inshop": {"Eval/list_eval_partition.txt": FILES["inshop"]["list_eval_partition.txt"]},
    "labels": {"labels.csv": "path,label\na.jpg,x\nb.jpg,x\n"},
    "holidays": {"jpg/100000.jpg": "", "jpg/100001.jpg": ""},
    "ukbench": {f"full/ukbench{i:05}.jpg": "" for i in range(4)},
}


def test_every_row_has_a_sample_of_every_look():
    for name, row in FORMATS.items():
        assert ("folder" in row.looks) == (name in FOLDERS)
        assert (set(row.looks) != {"folder"}) == (name in FILES)
        assert callable(resolve(row.reader))


@pytest.mark.parametrize("format", FILES)
def test_a_file_is_recognised_and_read(put, format):
    ((name, text),) = FILES[format].items()
    path = put(FILES[format]) / name
    assert look(path, text.encode()) in FORMATS[format].looks
    assert detect(path, text.encode()) == format
    truth = load(path)
    assert truth.format == format
    assert truth.queries
    again = load(path, format)
    assert (again.database, again.queries, again.sha256) == (truth.database, truth.queries, truth.sha256)


@pytest.mark.parametrize("format", FOLDERS)
def test_a_folder_is_recognised_and_read(put, format):
    path = put(FOLDERS[format])
    assert detect(path, None) == format
    truth = load(path)
    assert truth.format == format
    assert truth.queries
    assert load(path, format).sha256 == truth.sha256
    assert len(truth.sha256) == 64


@pytest.mark.parametrize("format", [name for name in FILES if name != "revisitop"])
def test_byte_order_marks_windows_lines_blanks_and_blank_lines_change_nothing(put, answers, format):
    ((name, text),) = FILES[format].items()
    plain = load(put({name: text}) / name)
    blanks = "\r\n" if format in ("labels", "inshop") else "  \r\n\r\n"  # quoted fields and two lines of heading
    truth = load(put({name: b"\xef\xbb\xbf" + text.replace("\n", blanks).encode()}) / name)
    assert (truth.format, truth.database, truth.queries) == (format, plain.database, plain.queries)
    assert {subset: answers(truth, subset) for subset in truth.subsets} == {
        subset: answers(plain, subset) for subset in plain.subsets
    }


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("gldv2", b"a b"),
        ("gldv2-recognition", b"17"),
        ("disc21", b"R000001"),
        ("labels", b"b.jpg"),
        ("sop", b"mug/2.JPG"),
        ("inshop", b"img/b.jpg"),
        ("trec", b"d1"),
        ("hloc", b"db/b.jpg"),
    ],
)
def test_names_that_are_not_utf8_are_read_byte_for_byte(put, format, name):
    ((file, text),) = FILES[format].items()
    assert name in text.encode()
    truth = load(put({file: text.encode().replace(name, b"caf\xe9")}) / file, format)
    assert "caf\udce9" in truth.database


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_file_an_empty_folder_and_nothing_at_all_are_said_in_one_line(tmp_path, format):
    (tmp_path / "empty").write_bytes(b"\xef\xbb\xbf \r\n")
    (tmp_path / "folder").mkdir()
    for name in ("empty", "folder", "gone"):
        with pytest.raises(GroundTruthError, match=name) as raised:
            load(tmp_path / name, format)
        assert "\n" not in str(raised.value)


def test_an_empty_file_of_no_named_format_is_said_to_be_empty(tmp_path):
    (tmp_path / "x").write_bytes(b" \n")
    with pytest.raises(GroundTruthError, match=r"cannot tell the format of .*x: it is empty"):
        load(tmp_path / "x")


def test_a_folder_is_no_file_and_a_file_no_folder(put):
    path = put({"x.csv": "path,label\na,x\nb,x\n"})
    with pytest.raises(GroundTruthError, match="is a folder, but trec is a file: TREC qrels"):
        load(path, "trec")
    with pytest.raises(GroundTruthError, match="is a file, but oxford5k is a folder: original Oxford5k"):
        load(path / "x.csv", "oxford5k")


def test_one_file_of_a_folder_means_the_folder(put):
    path = put({**FOLDERS["oxford5k"], **FOLDERS["cub"]})
    for name, format in {"all_souls_1_good.txt": "oxford5k", "images.txt": "cub"}.items():
        with pytest.raises(GroundTruthError, match=f"is a file, but {format} is a folder"):
            load(path / name)


def test_a_folder_that_could_be_two_formats_is_not_guessed(put):
    path = put({**FOLDERS["sop"], **FOLDERS["labels"]})
    with pytest.raises(GroundTruthError, match=r"could be sop or labels\. Name it with --format sop\|labels"):
        load(path)
    assert load(path, "labels").database == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"x.txt": "q1 0 d1 1\nq1 0 d2\n"},
            r"line 2: expected query .*\(read as trec; .* say --format holidays\|ukbench",
        ),
        ({"x.txt": "a b\nc\n"}, r"\(read as hloc; if it is something else, say --format .*\|inshop\|trec\)$"),
        ({"x.csv": "id,images\nq\n"}, r"read as gldv2; .* say --format gldv2-recognition\|disc21\|labels\)$"),
        ({"x.json": "{}"}, r"read as revisitop; if it is something else, name it with --format\)$"),
    ],
)
def test_a_wrong_guess_names_the_formats_that_look_alike(put, files, message):
    with pytest.raises(GroundTruthError, match=message):
        load(put(files) / next(iter(files)))


def test_predictions_are_no_ground_truth(put):
    path = put({"p.csv": "query_id,reference_id,score\nQ1,R1,0.5\n"}) / "p.csv"
    with pytest.raises(GroundTruthError, match="line 2: a score: these are predictions"):
        load(path)
