"""Commands as a user types them: output forms, streams, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.store import Store
from tests.pictures import save, textured

FAST = ["--weights", "none", "--workers", "0", "--image-size", "64", "--precision", "fp32"]


def run(*arguments: object, code: int = 0, stdin: bytes | None = None):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def place(tmp_path, monkeypatch, mean_colour):
    """A folder with photos, a store and an index made by the commands; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        save(tmp_path / "photos", f"{'ab'[number % 2]}/{number}.png", number)
    run("extract", "photos", "-o", "store", "--model", mean_colour, *FAST)
    run("index", "store", "-o", "index")
    return tmp_path


def answers(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_extract_talks_on_stderr_and_says_that_weights_are_untrained(tmp_path, mean_colour, photos):
    result = run("extract", photos, "-o", tmp_path / "s", "--model", mean_colour, *FAST)
    assert result.stdout == ""
    assert "6 images: 6 added" in result.stderr
    assert "UNTRAINED" in result.stderr
    assert run("extract", photos, "-o", tmp_path / "s", "-q").stderr == ""


def test_search_finds_the_image_itself_first(place):
    (answer,) = answers(run("search", "index", "photos/a/2.png", "-k", "3", "--workers", "0"))
    assert answer["schema"] == "imgret.search/1"
    assert answer["query"] == "2.png"
    first = answer["results"][0]
    assert (first["rank"], first["id"]) == (1, "a/2.png")
    assert first["score"] == pytest.approx(1, abs=1e-3)
    assert Path(first["path"]) == place / "photos/a/2.png"
    assert len(answer["results"]) == 3


def test_self_is_excluded_by_id_or_by_file(place):
    (answer,) = answers(run("search", "index", "photos/a/2.png", "-k", "8", "--exclude-self", "--workers", "0"))
    names = [hit["id"] for hit in answer["results"]]
    assert "a/2.png" not in names
    assert len(names) == 7
    assert [hit["rank"] for hit in answer["results"]] == list(range(1, 8))
    every = answers(run("search", "index", "photos", "-k", "2", "--exclude-self", "--workers", "0"))
    assert len(every) == 8
    assert all(entry["query"] != entry["results"][0]["id"] for entry in every)


def test_shorter_answers_are_prefixes_of_longer_ones(place):
    long = answers(run("search", "index", "store", "-k", "8"))
    for k in (1, 3, 5):
        for short, full in zip(answers(run("search", "index", "store", "-k", k)), long, strict=True):
            assert short["results"] == full["results"][:k]


def test_every_output_form_says_the_same(place):
    base = ["search", "index", "photos/a/2.png", "-k", "2", "--workers", "0"]
    expected = answers(run(*base))
    assert json.loads(run(*base, "--format", "json").stdout) == expected
    table = list(csv.DictReader(io.StringIO(run(*base, "--format", "csv").stdout)))
    assert [(line["query"], line["rank"], line["id"]) for line in table] == [
        ("2.png", "1", "a/2.png"),
        ("2.png", "2", expected[0]["results"][1]["id"]),
    ]
    paths = [hit["path"] for hit in expected[0]["results"]]
    assert run(*base, "--format", "paths").stdout.splitlines() == paths
    assert run(*base, "--format", "paths0").stdout_bytes.split(b"\0")[:-1] == [os.fsencode(path) for path in paths]
    assert "a/2.png" in run(*base, "--format", "table").stdout


def test_a_minimum_score_cuts_the_answer(place):
    (answer,) = answers(run("search", "index", "photos/a/2.png", "-k", "8", "--min-score", "0.999", "--workers", "0"))
    assert all(hit["score"] >= 0.999 for hit in answer["results"])
    assert len(answer["results"]) < 8


def test_a_query_that_cannot_be_read_is_an_error_line_and_the_others_go_on(place):
    (place / "bad.png").write_bytes(b"")
    result = run("search", "index", "bad.png", "photos/a/2.png", "--workers", "0", code=1)
    good, bad = sorted(answers(result), key=lambda entry: "error" in entry)
    assert good["results"][0]["id"] == "a/2.png"
    assert bad["query"] == "bad.png"
    assert "empty" in bad["error"]


def test_a_box_searches_with_a_part_of_the_query(place):
    wide = place / "wide.png"
    from PIL import Image

    picture = Image.new("RGB", (128, 48))
    picture.paste(textured(2), (0, 0))
    picture.paste(textured(5), (64, 0))
    picture.save(wide)
    for box, found in (("0,0,64,48", "a/2.png"), ("64,0,128,48", "b/5.png")):
        (answer,) = answers(run("search", "index", wide, "--box", box, "-k", "1", "--workers", "0"))
        assert answer["results"][0]["id"] == found


def test_the_collection_may_be_somewhere_else_now(place):
    (place / "photos").rename(place / "moved")
    query = place / "moved/a/2.png"
    (answer,) = answers(run("search", "index", query, "-k", "1", "--workers", "0"))
    assert answer["results"][0]["path"] is None
    (answer,) = answers(run("search", "index", query, "-k", "1", "--images", "moved", "--workers", "0"))
    assert Path(answer["results"][0]["path"]) == Path("moved/a/2.png")


def test_store_and_photos_may_move_together(place):
    (place / "all").mkdir()
    for name in ("photos", "store", "index"):
        (place / name).rename(place / "all" / name)
    (answer,) = answers(run("search", "all/index", "all/photos/a/2.png", "-k", "1", "--workers", "0"))
    assert Path(answer["results"][0]["path"]).samefile(place / "all/photos/a/2.png")


def test_queries_of_another_recipe_are_refused_with_the_difference(place, mean_colour):
    run(
        "extract",
        "photos",
        "-o",
        "small",
        "--model",
        mean_colour,
        *FAST[:-4],
        "--image-size",
        "32",
        "--precision",
        "fp32",
    )
    assert "image_size 32" in run("search", "index", "small", code=1).stderr


def test_an_html_page_of_results_is_written(place):
    run("search", "index", "photos/a/2.png", "--html", "page.html", "--workers", "0")
    page = (place / "page.html").read_text()
    assert "a/2.png" in page
    assert "data:image/jpeg;base64," in page


def test_eval_scores_labels_and_prints_the_protocol(place):
    lines = [f"{'ab'[n % 2]}/{n}.png,{n // 4}" for n in range(8)]
    (place / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    shown = run("eval", "labels.csv", "--index", "index")
    for word in (
        "mAP (finite)",
        "R@1",
        "query_crop",
        "index_recall",
        "image_size",
        "ground_truth_sha256",
        "UNTRAINED",
    ):
        assert word in shown.output
    document = json.loads(run("eval", "labels.csv", "--store", "store", "--json", "--per-query", "each.csv").stdout)
    assert document["schema"] == "imgret.eval/1"
    assert document["subsets"]["all"]["queries"] == 8
    assert document["protocol"]["counts"]["self_ignored"] == 8
    assert len((place / "each.csv").read_text().splitlines()) == 9


def oxford_style(place: Path, names: list[str], box: list[float] | None) -> dict:
    gnd = {"bbx": box, "easy": [1], "hard": [2], "junk": [0]}
    return {"imlist": names, "qimlist": [names[0]], "gnd": [gnd]}


def test_eval_reads_a_published_style_pickle_whose_names_lack_folder_and_extension(place):
    names = [str(number) for number in range(8)]
    truth = oxford_style(place, names, [0.0, 0.0, 32.4, 48.0])
    with open("gnd.pkl", "wb") as file:
        pickle.dump(truth, file, protocol=2)
    document = json.loads(
        run("eval", "gnd.pkl", "--index", "index", "--images", "photos", "--json", "--workers", "0").stdout
    )
    assert document["format"] == "revisitop"
    assert set(document["subsets"]) == {"easy", "medium", "hard"}
    assert "ground-truth box" in document["protocol"]["query_crop"]
    whole = run(
        "eval",
        "gnd.pkl",
        "--index",
        "index",
        "--images",
        "photos",
        "--json",
        "--query-crop",
        "none",
        "--workers",
        "0",
    )
    assert json.loads(whole.stdout)["protocol"]["query_crop"] == "none"


def test_eval_of_search_output_agrees_with_eval_of_the_index(place):
    lines = [f"{'ab'[n % 2]}/{n}.png,{n // 4}" for n in range(8)]
    (place / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    found = run("search", "index", "store", "-k", "8", "--format", "jsonl").stdout
    (place / "run.jsonl").write_text(found)
    one = json.loads(run("eval", "labels.csv", "--index", "index", "--json").stdout)
    other = json.loads(run("eval", "labels.csv", "--ranking", "run.jsonl", "--json").stdout)
    assert one["subsets"]["all"]["map"] == pytest.approx(other["subsets"]["all"]["map"], abs=1e-9)
    cut = json.loads(run("eval", "labels.csv", "--index", "index", "--depth", "2", "--json").stdout)
    assert cut["protocol"]["depth"] == 2
    assert cut["protocol"]["counts"]["truncated"] == 8
    assert cut["subsets"]["all"]["map"] < one["subsets"]["all"]["map"]


def test_eval_names_images_that_the_index_lacks(place):
    (place / "labels.csv").write_text("path,label\na/0.png,x\na/2.png,x\nnever.png,x\n")
    failed = run("eval", "labels.csv", "--index", "index", code=1)
    assert "never.png" in failed.stderr
    assert "--allow-missing" in failed.stderr
    scores = json.loads(run("eval", "labels.csv", "--index", "index", "--allow-missing", "--json").stdout)
    assert scores["protocol"]["counts"]["missing"] == 1


def test_a_malicious_pickle_is_refused_and_nothing_runs(place):
    sentinel = place / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {sentinel}",)

    with open("evil.pkl", "wb") as file:
        pickle.dump({"imlist": ["a"], "qimlist": [], "gnd": Evil()}, file)
    assert "system" in run("eval", "evil.pkl", "--index", "index", code=1).stderr
    assert not sentinel.exists()


def test_a_ranking_with_duplicates_is_refused(place):
    hits = [{"rank": 1, "id": "a/2.png", "score": 0.9}, {"rank": 2, "id": "a/2.png", "score": 0.8}]
    (place / "run.jsonl").write_text(json.dumps({"query": "a/0.png", "results": hits}) + "\n")
    (place / "labels.csv").write_text("path,label\na/0.png,x\na/2.png,x\n")
    assert "more than once" in run("eval", "labels.csv", "--ranking", "run.jsonl", code=1).stderr


def test_an_index_update_follows_the_store(place, mean_colour):
    save(place / "photos", "a/new.png", 90)
    (place / "photos/b/1.png").unlink()
    run("extract", "photos", "-o", "store", "--prune", "--workers", "0")
    run("index", "store", "-o", "index")
    (answer,) = answers(run("search", "index", "photos/a/new.png", "-k", "9", "--workers", "0"))
    names = [hit["id"] for hit in answer["results"]]
    assert names[0] == "a/new.png"
    assert "b/1.png" not in names
    assert "holds these stores already" in run("index", "store", "-o", "index").stderr


def test_a_removed_image_counts_as_missing_in_eval(place):
    (place / "labels.csv").write_text("path,label\na/0.png,x\na/2.png,x\nb/1.png,x\n")
    (place / "photos/b/1.png").unlink()
    run("extract", "photos", "-o", "store", "--prune", "--workers", "0")
    run("index", "store", "-o", "index")
    assert "b/1.png" in run("eval", "labels.csv", "--index", "index", code=1).stderr


def test_info_finds_a_flipped_byte_and_index_refuses_it_by_name(place):
    assert "sound" in run("info", "store").stderr
    assert "sound" in run("info", "index").stderr
    shard = place / "store/shard-00000.h5"
    data = bytearray(shard.read_bytes())
    data[-200] ^= 4
    shard.write_bytes(bytes(data))
    assert "shard-00000.h5" in run("info", "store", code=1).stderr
    assert "shard-00000.h5" in run("index", "store", "-o", "other", code=1).stderr


def test_info_explains_each_kind_of_file(place, mean_colour):
    assert "descriptors" in run("info", "store/shard-00000.h5").stdout
    (place / "x.txt").write_text("x")
    assert "neither a store" in run("info", "x.txt", code=1).stderr
    assert "no such file" in run("info", "nowhere", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["extract", "nowhere", "-o", "s", "--model", "mean-colour", "--weights", "none"], 1, "no such file or folder"),
        (["extract", "photos", "-o", "s", "--model", "glm"], 1, "did you mean glam?"),
        (["extract", "photos", "-o", "s", "--model", "glam"], 1, "--weights none"),
        (["extract", "photos"], 2, "--output"),
        (["extract", "photos", "-o", "s", "--scales", "x"], 2, "--scales|not a list"),
        (["extract", "photos", "-o", "s", "--part", "3/2"], 2, "I/N"),
        (["extract", "photos", "-o", "s", "--precision", "bf61"], 2, "did you mean bf16?"),
        (["extract", "photos", "-o", "store", "--image-size", "99"], 1, "one store holds one recipe"),
        (["index", "nowhere", "-o", "i"], 1, "not a store"),
        (["index", "store", "-o", "i", "--kind", "falt"], 1, "did you mean flat?"),
        (["index", "store", "-o", "i", "--factory", "Banana7"], 1, "Banana7"),
        (["index", "store", "-o", "i", "--max-memory", "lots"], 1, "4GB"),
        (["search", "nowhere", "x.png"], 1, "not an index"),
        (["search", "index", "nowhere.png"], 1, "no such file"),
        (["search", "index", "photos", "--format", "jsno"], 2, "did you mean json"),
        (["search", "index", "photos", "--box", "1,2,3,4"], 1, "one query image"),
        (["eval", "nowhere.pkl", "--index", "index"], 1, "nowhere.pkl"),
        (["models", "gme"], 1, "did you mean gem?"),
    ],
)
def test_bad_input_gets_one_clear_line_and_its_exit_code(place, arguments, code, words):
    result = run(*arguments, code=code)
    output = " ".join(result.output.replace("│", " ").split())
    assert any(word in output for word in words.split("|")), result.output
    assert "Traceback" not in result.output
    if code == 1:
        lines = [line for line in result.stderr.splitlines() if line.startswith("imgret:")]
        assert len(lines) == 1


def test_ids_repeated_across_stores_are_refused(place, mean_colour):
    run("extract", "photos", "-o", "again", "--model", mean_colour, *FAST)
    result = run("index", "store", "again", "-o", "both", code=1)
    assert "a/0.png" in result.stderr


def test_strict_ends_with_3_and_total_failure_with_1(place, mean_colour):
    (place / "photos/a/bad.png").write_bytes(b"")
    run("extract", "photos", "-o", "store", "--workers", "0")
    run("extract", "photos", "-o", "store", "--strict", "--workers", "0", code=3)
    (place / "only").mkdir()
    (place / "only/bad.png").write_bytes(b"")
    run("extract", "only", "-o", "none", "--model", mean_colour, *FAST, code=1)


def test_a_list_may_come_from_stdin(place, mean_colour):
    run(
        "extract",
        "-",
        "-o",
        "listed",
        "--model",
        mean_colour,
        *FAST,
        "--root",
        "photos",
        stdin=b"a/2.png\nb/1.png\n",
    )
    found = answers(run("search", "index", "listed", "-k", "1"))
    assert [entry["query"] for entry in found] == ["a/2.png", "b/1.png"]


def test_version_and_module_run():
    done = subprocess.run([sys.executable, "-m", "imgret", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("imgret 0.")


@pytest.mark.skipif(sys.platform == "win32", reason="uses a shell pipe")
def test_a_closed_pipe_ends_quietly(place, mean_colour):
    (place / "many").mkdir()
    for number in range(3000):  # more output than a pipe holds
        os.link(place / f"photos/{'ab'[number % 2]}/{number % 8}.png", place / f"many/{number}.png")
    run("extract", "many", "-o", "many-store", "--model", mean_colour, *FAST)
    command = f"{sys.executable} -m imgret search index many-store -k 8 --format jsonl | head -c 10"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


def test_strange_names_are_printed_with_one_reversible_escape(place, mean_colour):
    from imgret.ids import unescape

    save(place / "odd", "new\nline.png", 3)
    raw = os.fsencode(place / "odd") + b"/\xff.png"
    textured(4).save(place / "x.png")
    os.rename(place / "x.png", raw)
    run("extract", "odd", "-o", "odd-store", "--model", mean_colour, *FAST)
    run("index", "odd-store", "-o", "odd-index")
    found = answers(run("search", "odd-index", "odd-store", "-k", "1"))
    assert [entry["query"] for entry in found] == ["new\\x0aline.png", "\\xff.png"]
    assert [os.fsencode(unescape(entry["results"][0]["id"])) for entry in found] == [
        b"new\nline.png",
        b"\xff.png",
    ]
    zero = run("search", "odd-index", "odd-store", "-k", "1", "--format", "paths0").stdout_bytes
    assert zero.split(b"\0")[:2] == [os.fsencode(place / "odd") + b"/new\nline.png", raw]


def test_half_precision_scores_are_true_cosines(place):
    found = answers(run("search", "index", "store", "-k", "8"))
    from imgret.store import Store

    rows = {
        raw.decode(): row
        for block in Store.open(place / "store").blocks()
        for raw, row in zip(block.ids, block.descriptors, strict=True)
    }
    for entry in found:
        for hit in entry["results"]:
            assert hit["score"] == pytest.approx(float(np.dot(rows[entry["query"]], rows[hit["id"]])), abs=1e-5)


def test_a_weights_file_is_all_that_extract_and_search_need(place, mean_colour):
    from imgret.models import load_model, save_weights

    save_weights(load_model(mean_colour, weights="none").model, place / "mine.safetensors", {"made": "here"})
    run("extract", "photos", "-o", "filed", "--model", "mine.safetensors", *FAST[2:])
    run("index", "filed", "-o", "filed-index")
    (answer,) = answers(run("search", "filed-index", "photos/a/2.png", "-k", "1", "--workers", "0"))
    assert answer["results"][0]["id"] == "a/2.png"
    assert "sound" in run("info", "mine.safetensors").stderr
    (place / "mine.safetensors").rename(place / "moved.safetensors")
    failed = run("search", "filed-index", "photos/a/2.png", "--workers", "0", code=1)
    assert "--weights FILE" in failed.stderr
    found = run(
        "search", "filed-index", "photos/a/2.png", "-k", "1", "--weights", "moved.safetensors", "--workers", "0"
    )
    assert answers(found)[0]["results"][0]["id"] == "a/2.png"


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_with_130_and_keeps_what_is_written(tmp_path):
    import signal
    import time

    for number in range(3):
        save(tmp_path / "photos", f"{number}.png", number, (400, 300))
    for number in range(600):
        os.link(tmp_path / f"photos/{number % 3}.png", tmp_path / f"photos/copy-{number}.png")
    command = [
        "extract",
        "photos",
        "-o",
        "store",
        "--model",
        "gem",
        "--backbone",
        "resnet10t",
        "--weights",
        "none",
        "--image-size",
        "400",
        "--shard-size",
        "5",
    ]
    # a shell that starts the tests in the background has them ignore SIGINT, and a child would inherit that
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    child = subprocess.Popen(
        [sys.executable, "-m", "imgret", *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.time() + 60
    while not (tmp_path / "store/shard-00001.h5").exists() and time.time() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, talk = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted" in talk
    assert "Traceback" not in talk
    assert "sound" in run("info", tmp_path / "store").stderr


def test_a_query_that_is_not_there_is_an_error_line_and_the_others_go_on(place):
    result = run("search", "index", "nowhere.png", "photos/a/2.png", "-k", "1", "--workers", "0", code=1)
    found = {entry["query"]: entry for entry in answers(result)}
    assert found["2.png"]["results"][0]["id"] == "a/2.png"
    assert "no such file" in found["nowhere.png"]["error"]


def test_other_crops_of_the_query_make_room_for_more_results(place, mean_colour):
    boxes = "".join(f"a/2.png,{x},0,{x + 10},48\n" for x in range(0, 50, 5))
    (place / "boxes.csv").write_text("path,x1,y1,x2,y2\n" + boxes + "a/0.png,,,,\nb/1.png,,,,\nb/3.png,,,,\n")
    run("extract", "--list", "boxes.csv", "--root", "photos", "-o", "boxed", "--model", mean_colour, *FAST)
    run("index", "boxed", "-o", "boxed-index")
    (answer,) = answers(run("search", "boxed-index", "photos/a/2.png", "-k", "3", "--exclude-self", "--workers", "0"))
    assert sorted(hit["id"] for hit in answer["results"]) == ["a/0.png", "b/1.png", "b/3.png"]


def test_members_of_one_archive_are_different_images(place, mean_colour):
    import tarfile

    with tarfile.open("set.tar", "w") as archive:
        archive.add("photos/a/2.png", "2.png")
        archive.add("photos/b/1.png", "1.png")
    run("extract", "set.tar", "-o", "tarred", "--model", mean_colour, *FAST)
    run("index", "tarred", "-o", "tar-index")
    found = answers(run("search", "tar-index", "set.tar", "-k", "2", "--exclude-self", "--workers", "0"))
    assert [[hit["id"] for hit in entry["results"]] for entry in found] == [["set.tar/1.png"], ["set.tar/2.png"]]


def test_an_index_keeps_the_kind_that_was_asked_for(place):
    run("index", "store", "-o", "graph", "--kind", "hnsw", "--target-recall", "0.9")
    save(place / "photos", "a/new.png", 90)
    run("extract", "photos", "-o", "store", "--workers", "0")
    updated = run("index", "store", "-o", "graph")
    assert "hnsw" in updated.stderr
    assert "Made anew" not in updated.stderr
    about = json.loads((place / "graph/index.json").read_text())
    assert about["recall"]["target"] == 0.9


def test_the_hash_of_what_was_searched_is_that_of_the_store(place):
    (place / "labels.csv").write_text("path,label\na/0.png,x\na/2.png,x\n")
    hashes = {
        json.loads(run("eval", "labels.csv", where, what, "--json").stdout)["protocol"]["store_sha256"]
        for where, what in (("--index", "index"), ("--store", "store"))
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("name", ["ids-1.npy", "origin-1.npy", "deleted-1.npy", "index-1.faiss", "ids-1.bin"])
@pytest.mark.parametrize("place_of_byte", [9, 40, -3])
def test_a_damaged_index_is_found_by_info_and_never_a_traceback(place, name, place_of_byte):
    path = place / "index" / name
    data = bytearray(path.read_bytes())
    data[min(place_of_byte, len(data) - 1)] ^= 0x10
    path.write_bytes(bytes(data))
    assert "imgret:" in run("info", "index", code=1).stderr


def test_names_with_markup_are_printed_as_they_are(place, mean_colour):
    save(place / "odd", "x[/y].png", 3)
    save(place / "odd", "[bold]z.png", 4)
    run("extract", "odd", "-o", "odd-store", "--model", mean_colour, *FAST)
    run("index", "odd-store", "-o", "odd[x].idx")
    shown = run("search", "odd[x].idx", "odd-store", "--format", "table").stdout
    assert "x[/y].png" in shown
    assert "[bold]z.png" in shown
    assert "odd[x].idx" in run("info", "odd[x].idx").stdout


@pytest.mark.parametrize("columns", ["40", "60", "80", "100", "140"])
def test_the_list_of_models_never_cuts_a_name(columns, monkeypatch):
    from imgret.models import cards
    from imgret.models.trunks import TRUNKS

    monkeypatch.setenv("COLUMNS", columns)
    lines = run("models", "-q").stdout.splitlines()
    for name, card in cards().items():
        (line,) = [line for line in lines if line.split()[:1] == [name] and "ships" not in line]
        assert int(columns) < 60 or card.backbone in line.split()
    assert all(any(line.split()[:1] == [name] for line in lines) for name in TRUNKS)
    assert len(lines) < 15 + 3 * len(cards()) + 3 * len(TRUNKS)


def test_the_model_that_ships_is_marked_and_explained_with_where_it_comes_from():
    assert "glam-small ships with the package" in " ".join(run("models", "-q").stdout.split())
    told = " ".join(run("models", "glam-small").stdout.split())
    for words in ("ships with the package", "Caltech-101", "MobileNetV2", "random", "mAP"):
        assert words in told


def test_extract_without_a_model_takes_the_one_that_ships_and_queries_find_it_again(tmp_path, photos):
    store = tmp_path / "store"
    result = run("extract", str(photos), "-o", str(store), "--workers", "0", "--device", "cpu")
    assert "UNTRAINED" not in result.stderr
    recipe = Store.open(store).recipe
    assert (recipe["weights"]["source"], recipe["weights"]["name"]) == ("package", "glam-small")
    assert recipe["image_size"] == 320
    run("index", str(store), "-o", str(tmp_path / "index"))
    picture = next(path for path in sorted(photos.rglob("*")) if path.is_file())
    found = run("search", str(tmp_path / "index"), str(picture), "-k", "1", "--workers", "0")
    assert picture.name in found.stdout
    # again, by name and by nothing: it goes on; with another model it refuses
    assert "0 added" in run("extract", str(photos), "-o", str(store), "--model", "glam-small", "--workers", "0").stderr
    refused = run("extract", str(photos), "-o", str(store), "--model", "gala", code=1)
    assert "glam-small" in refused.stderr or "model glam" in refused.stderr


def test_the_commands_that_explain_a_model_can_be_pasted(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = [line.strip() for line in run("models", "dtop").stdout.splitlines()]
    assert "imgret extract photos/ -o store --model dtop --weights none" in lines
    assert "imgret extract photos/ -o store --model gem" in [
        x.strip() for x in run("models", "gem").stdout.splitlines()
    ]


def test_a_weights_file_is_no_model_to_explain():
    assert "imgret info x.safetensors" in run("models", "x.safetensors", code=1).stderr
