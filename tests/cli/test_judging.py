"""Ranking better and judging honestly, as a user types it."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from imgret.cli.app import app
from tests.pictures import save

FAST = ["--weights", "none", "--workers", "0", "--image-size", "64", "--precision", "fp32"]


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def scores(*arguments: object) -> dict:
    return json.loads(run("eval", *arguments, "--json", "-q").stdout)


@pytest.fixture
def place(tmp_path, monkeypatch, mean_colour):
    """Twelve photos of three labels, a store and an index with a graph; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        save(tmp_path / "photos", f"{'ab'[number % 2]}/{number}.png", number)
    run("extract", "photos", "-o", "store", "--model", mean_colour, *FAST)
    run("index", "store", "-o", "index", "--graph", "4")
    lines = [f"{'ab'[n % 2]}/{n}.png,{n // 4}" for n in range(12)]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    return tmp_path


def test_a_chain_is_told_in_the_protocol_with_every_parameter(place):
    found = scores("labels.csv", "--index", "index", "--rerank", "aqe:k=2 superglobal:m=6")
    assert found["protocol"]["rerank"] == "aqe:k=2,alpha=3 superglobal:m=6,k=9,beta=0.15"
    assert "rerank" not in scores("labels.csv", "--index", "index")["protocol"]


@pytest.mark.parametrize("chain", ["aqe:k=2", "superglobal:m=5,k=2", "diffusion:m=8,kq=2", "reciprocal:m=6,k1=3"])
def test_every_stage_ranks_the_whole_database_and_changes_nothing_in_the_index(place, chain):
    before = (place / "index" / "index.json").read_bytes()
    found = scores("labels.csv", "--index", "index", "--rerank", chain)
    assert found["protocol"]["counts"]["truncated"] == 0
    assert all(line["found"] == line["positives"] for line in found["per_query"])
    assert (place / "index" / "index.json").read_bytes() == before


@pytest.mark.parametrize("chain", ["aqe:k=3", "superglobal:m=5,k=2", "aqe:k=2 reciprocal:m=6,k1=3"])
def test_a_store_is_re_ranked_as_an_index_over_it(place, chain):
    by_store = scores("labels.csv", "--store", "store", "--rerank", chain)
    by_index = scores("labels.csv", "--index", "index", "--rerank", chain)
    assert by_store["per_query"] == by_index["per_query"]


def test_diffusion_on_a_store_says_where_the_graph_comes_from(place):
    failed = run("eval", "labels.csv", "--store", "store", "--rerank", "diffusion", code=1)
    assert "imgret index STORE -o INDEX --graph" in failed.stderr


def test_a_removed_image_is_in_no_re_ranked_list(place):
    (place / "photos/a/2.png").unlink()
    run("extract", "photos", "-o", "store", "--prune")
    run("index", "store", "-o", "index")
    found = scores("labels.csv", "--index", "index", "--allow-missing", "--rerank", "superglobal:m=6")
    assert found["protocol"]["counts"]["database"] == 11
    answer = json.loads(run("search", "index", "photos/a/0.png", "-k", "12", "--rerank", "superglobal").stdout)
    assert "a/2.png" not in [hit["id"] for hit in answer["results"]]
    assert len(answer["results"]) == 11


@pytest.mark.parametrize("chain", ["aqe:k=3", "superglobal:m=6,k=2", "diffusion:m=8", "reciprocal:m=6,k1=3"])
def test_a_shorter_re_ranked_answer_begins_a_longer_one(place, chain):
    def hits(k):
        answer = json.loads(run("search", "index", "photos/b/5.png", "-k", k, "--rerank", chain).stdout)
        return [hit["id"] for hit in answer["results"]]

    assert hits(3) == hits(12)[:3]


def test_wrong_chains_are_refused_before_anything_is_read(place):
    assert "did you mean superglobal?" in run("search", "nowhere", "q.png", "--rerank", "superglobl", code=1).stderr
    assert "from 1 to 10000" in run("eval", "nowhere", "--rerank", "superglobal:m=0", code=1).stderr
    refused = run("eval", "labels.csv", "--ranking", "run.jsonl", "--rerank", "aqe", code=2)
    assert "--ranking brings its own answers" in re.sub(r"\s+│?\s*", " ", refused.stderr)


def test_augmentation_of_the_database_is_told_in_the_protocol(place):
    run("index", "store", "-o", "augmented", "--dba", "k=2,alpha=1")
    card = scores("labels.csv", "--index", "augmented", "--queries", "store")["protocol"]
    assert card["dba"] == {"k": 2, "alpha": 1}
    # its own rows are no queries: they are augmented
    assert "--queries STORE" in run("eval", "labels.csv", "--index", "augmented", code=1).stderr


def two_halves(path, turns=0, mirror=False):
    """A picture whose left half is red and whose upper right quarter is blue, turned or mirrored."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :32] = 200, 20, 20
    pixels[:24, 32:] = 20, 20, 200
    pixels = np.rot90(pixels, turns)
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.ascontiguousarray(pixels[:, ::-1] if mirror else pixels)).save(path)


def test_robust_search_finds_a_turned_and_mirrored_picture_as_if_it_were_upright(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two_halves(tmp_path / "photos/it.png")
    for number in range(5):
        save(tmp_path / "photos", f"{number}.png", number)
    two_halves(tmp_path / "turned.png", turns=1, mirror=True)
    run("extract", "photos", "-o", "store", "--model", "gem", "--backbone", "resnet18", *FAST)
    run("index", "store", "-o", "index")
    upright = json.loads(run("search", "index", "photos/it.png", "--workers", "0").stdout)["results"][0]
    plain = json.loads(run("search", "index", "turned.png", "--workers", "0").stdout)["results"]
    found = json.loads(run("search", "index", "turned.png", "--robust", "--workers", "0").stdout)["results"]
    assert upright["score"] == pytest.approx(1, abs=1e-3)
    assert (found[0]["id"], found[0]["score"]) == ("it.png", pytest.approx(1, abs=1e-3))
    assert {hit["id"]: hit["score"] for hit in plain}["it.png"] < 0.999
    again = json.loads(run("search", "index", "turned.png", "--robust", "--rerank", "aqe:k=1", "--workers", "0").stdout)
    assert again["results"][0]["id"] == "it.png"


def test_robust_re_ranking_is_not_led_by_the_query_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two_halves(tmp_path / "photos/it.png")
    two_halves(tmp_path / "photos/turned.png", turns=1, mirror=True)
    for number in range(5):
        save(tmp_path / "photos", f"{number}.png", number)
    run("extract", "photos", "-o", "store", "--model", "gem", "--backbone", "resnet18", *FAST)
    run("index", "store", "-o", "index")
    asked = ["search", "index", "photos/turned.png", "--exclude-self", "--rerank", "aqe:k=0", "--workers", "0"]
    # upright the query is itself in the index; the picture it is a copy of is found in another variant
    plain, robust = (json.loads(run(*asked, *extra).stdout)["results"] for extra in ([], ["--robust"]))
    scores_of = [next(hit["score"] for hit in found if hit["id"] == "it.png") for found in (plain, robust)]
    assert scores_of[0] < 0.999
    assert scores_of[1] == pytest.approx(1, abs=1e-3)


def test_query_expansion_leaves_out_the_file_that_was_searched_with(place):
    def best(*extra):
        found = run("search", "index", "photos/a/2.png", "--exclude-self", "-k", "1", *extra, "--workers", "0").stdout
        return json.loads(found)["results"][0]

    # its id is 2.png, in the index it is a/2.png: expanded with itself, nothing would change
    assert best("--rerank", "aqe:k=1,alpha=0")["score"] > best()["score"] + 1e-6


def test_eval_asks_with_turned_queries_and_with_scales_of_their_own(place):
    gnd = [{"bbx": None, "easy": [1], "hard": [2], "junk": []}]
    truth = {"imlist": ["a/0.png", "b/1.png", "a/2.png"], "qimlist": ["a/0.png"], "gnd": gnd}
    (place / "gnd.json").write_text(json.dumps(truth))
    asked = ["gnd.json", "--index", "index", "--images", "photos", "--workers", "0"]
    found = scores(*asked, "--robust", "--query-scales", "1,0.5")
    assert found["protocol"]["query_scales"] == [1.0, 0.5]
    assert "mirrored" in found["protocol"]["queries"]
    # a mean colour knows neither turning nor size
    assert found["subsets"] == scores(*asked)["subsets"]
    run("eval", "labels.csv", "--index", "index", "--robust", code=2)
    assert "turned queries need images" in run("search", "index", "store", "--robust", code=1).stderr


def test_every_score_has_an_interval_that_holds_it(place):
    found = scores("labels.csv", "--index", "index")["subsets"]["all"]
    low, high = found["map_interval"]
    assert 0 <= low <= found["map"] <= high <= 1
    assert "95 % interval" in run("eval", "labels.csv", "--index", "index").stdout


def test_reconcile_scores_one_ranking_under_every_known_protocol(place):
    found = scores("labels.csv", "--index", "index", "--reconcile")
    variants = found["variants"]
    assert variants["official"]["all"]["map"] == found["subsets"]["all"]["map"]
    assert variants["AP: trapezoid"]["all"]["map"] == pytest.approx(found["subsets"]["all"]["map_trapezoid"])
    own = variants["the query's own image counts as right"]["all"]["map"]
    assert own > found["subsets"]["all"]["map"]  # every query finds itself first
    asked = ["labels.csv", "--index", "index", "--published", f"{100 * own:.2f}"]
    nearest = scores(*asked)["nearest"][0]
    assert nearest["value"] == pytest.approx(own, abs=1e-4)
    assert "own image" in nearest["variant"]
    shown = run("eval", *asked, "--html", "p.html").stdout
    assert "Nearest to" in (place / "p.html").read_text()
    near = shown[shown.index("nearest to") :]
    assert "own image" in near.splitlines()[2]
    assert "+0.00" in near.splitlines()[2] or "-0.00" in near.splitlines()[2]


def test_reconcile_tells_what_cropping_the_queries_does(place):
    gnd = [{"bbx": [0.0, 0.0, 20.4, 20.6], "easy": [1], "hard": [2], "junk": []}]
    truth = {"imlist": ["a/0.png", "b/1.png", "a/2.png"], "qimlist": ["a/0.png"], "gnd": gnd}
    (place / "gnd.json").write_text(json.dumps(truth))
    asked = ["gnd.json", "--index", "index", "--images", "photos", "--workers", "0"]
    found = scores(*asked, "--reconcile")
    whole = scores(*asked, "--query-crop", "none")
    assert found["variants"]["queries not cropped"]["easy"]["map"] == whole["subsets"]["easy"]["map"]


def test_a_report_is_one_page_with_verdicts(place):
    run("eval", "labels.csv", "--index", "index", "--html", "report.html", "--reconcile")
    page = (place / "report.html").read_text()
    assert "<svg" in page
    assert "data:image/jpeg;base64," in page
    assert "junk counts as wrong" in page
    assert not re.search(r"""(?:src|href)=["']https?:""", page)
    assert re.search(r"<h1>labels: mAP \(finite\) [\d.]+ %</h1>", page)
    run("eval", "labels.csv", "--index", "index", "--html", "report.png", code=2)


def test_a_page_of_re_ranked_results_does_not_call_their_scores_cosines(place):
    run("search", "index", "photos/a/0.png", "--html", "plain.html")
    run("search", "index", "photos/a/0.png", "--html", "again.html", "--rerank", "reciprocal:m=5")
    assert "Scores are cosines" in (place / "plain.html").read_text()
    page = (place / "again.html").read_text()
    assert "Scores are cosines" not in page
    assert "ordered anew by reciprocal:m=5,k1=20,k2=6,lambda=0.3" in page


def test_what_is_wrong_is_told_with_file_query_and_id(place):
    hits = [{"rank": 1, "id": "a/2.png", "score": 0.9}, {"rank": 2, "id": "b/1.png", "score": float("nan")}]
    (place / "run.jsonl").write_text(json.dumps({"query": "a/0.png", "results": hits}) + "\n")
    failed = run("eval", "labels.csv", "--ranking", "run.jsonl", code=1).stderr
    assert failed.count("\n") == 1
    assert all(word in failed for word in ("run.jsonl", "a/0.png", "b/1.png is not a number"))
    (place / "near.csv").write_text("path,label\na/0.png,1\na/2.png,1\nb/99.png,1\n")
    failed = run("eval", "near.csv", "--ranking", "run.jsonl", code=1).stderr
    assert failed.count("\n") == 1


def test_a_ready_ranking_is_named_by_the_hash_of_its_file(place):
    found = run("search", "index", "store", "-k", "12").stdout
    (place / "run.jsonl").write_text(found)
    card = scores("labels.csv", "--ranking", "run.jsonl")["protocol"]
    assert card["ranking_sha256"] == hashlib.sha256(found.encode()).hexdigest()


def test_two_evaluations_are_compared_query_by_query(place):
    for name, chain in (("a", []), ("b", ["--rerank", "aqe:k=2"])):
        document = run("eval", "labels.csv", "--index", "index", *chain, "--json").stdout
        (place / f"{name}.json").write_text(document)
    found = json.loads(run("compare", "a.json", "b.json", "--json").stdout)
    assert found["protocol"] == {"rerank": {"a": None, "b": "aqe:k=2,alpha=3"}}
    a, b = (json.loads((place / f"{name}.json").read_text())["subsets"]["all"]["map"] for name in "ab")
    assert found["subsets"]["all"]["difference"] == pytest.approx(b - a)


def test_ground_truths_of_other_collections_and_misspelt_names_are_explained(place):
    (place / "other.csv").write_text("path,label\nx/9001.png,1\nx/9002.png,1\n")
    failed = run("eval", "other.csv", "--index", "index", code=1).stderr
    assert "none of the ground truth's 2 images" in failed
    assert "another collection" in failed
    (place / "near.csv").write_text("path,label\na/0.png,1\na/2.png,1\nb/011.png,1\n")
    failed = run("eval", "near.csv", "--index", "index", code=1).stderr
    assert "b/011.png is nearest to b/11.png" in failed


def test_formats_of_other_data_sets_go_through_the_whole_chain(tmp_path, monkeypatch, mean_colour):
    monkeypatch.chdir(tmp_path)
    for group in range(3):
        for number in range(4):
            save(tmp_path / "holidays", f"{100000 + 100 * group + number}.png", 10 * group + number)
            save(tmp_path / "ukbench", f"ukbench{4 * group + number:05d}.png", 10 * group + number)
    for name in ("holidays", "ukbench"):
        names = sorted(path.name for path in (tmp_path / name).iterdir())
        run("extract", name, "-o", f"{name}-store", "--model", mean_colour, *FAST)
        (tmp_path / f"{name}.txt").write_text("\n".join(n.replace(".png", ".jpg") for n in names) + "\n")
    found = scores("holidays.txt", "--store", "holidays-store", "--format", "holidays")
    assert found["subsets"]["all"]["queries"] == 3
    assert found["protocol"]["counts"]["self_ignored"] == 3
    found = scores("ukbench.txt", "--store", "ukbench-store", "--format", "ukbench")
    assert 1 <= found["subsets"]["all"]["n_s_score"] <= 4
    assert found["subsets"]["all"]["n_s_score_interval"] is not None
    assert found["protocol"]["counts"]["self_ignored"] == 0  # every query counts itself
    shown = run("eval", "ukbench.txt", "--store", "ukbench-store", "--format", "ukbench").stdout
    assert shown.splitlines()[3].split()[0] == "N-S"  # the format's own measure comes first


def test_predictions_of_copy_detection_and_recognition_are_scored_from_their_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gt.csv").write_text("query_id,reference_id\nQ1,R1\nQ2,R2\nQ3,\n")
    (tmp_path / "run.csv").write_text("query_id,reference_id,score\nQ3,R1,0.99\nQ1,R1,0.9\nQ2,R2,0.8\n")
    found = scores("gt.csv", "--format", "disc21", "--ranking", "run.csv")["subsets"]["all"]
    assert found["micro_ap"] == pytest.approx(0.583333, abs=1e-6)  # (1/2 + 2/3)/2
    (tmp_path / "solution.csv").write_text("id,landmarks,Usage\na,1,Public\nb,2,Public\nc,,Public\n")
    (tmp_path / "answers.csv").write_text("id,landmarks\nc,1 0.95\na,1 0.9\nb,2 0.8\n")
    asked = ["solution.csv", "--format", "gldv2-recognition"]
    found = scores(*asked, "--ranking", "answers.csv", "--ranking-format", "gldv2-recognition")
    assert next(iter(found["subsets"].values()))["gap"] == pytest.approx(0.583333, abs=1e-6)
    assert "--ranking FILE.csv" in run("eval", *asked, "--store", "nowhere", code=1).stderr


def test_landmarks_and_documents_called_like_their_query_are_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solution.csv").write_text("id,landmarks\n1,2\n2,2\n")
    (tmp_path / "answers.csv").write_text("id,landmarks\n1,1 0.9\n2,2 0.8\n")
    found = scores("solution.csv", "--format", "gldv2-recognition", "--ranking", "answers.csv")
    assert next(iter(found["subsets"].values()))["gap"] == pytest.approx(0.25)  # wrong, right: (1/2)/2
    (tmp_path / "qrels").write_text("1 0 1 1\n1 0 3 1\n")
    (tmp_path / "run").write_text("1 Q0 1 1 0.9 r\n1 Q0 2 2 0.8 r\n1 Q0 3 3 0.7 r\n")
    found = scores("qrels", "--format", "trec", "--ranking", "run", "--ranking-format", "trec")
    assert found["subsets"]["all"]["map"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_group_found_without_its_query_scores_four(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"ukbench{number:05d}.jpg" for number in range(8)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    lines = []
    for number, query in enumerate(names):
        group = [name for name in names[number // 4 * 4 :][:4] if name != query]
        lines.append({"query": query, "results": [{"id": name, "score": 1 - n / 9} for n, name in enumerate(group)]})
    (tmp_path / "run.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = scores("names.txt", "--format", "ukbench", "--ranking", "run.jsonl")
    assert found["subsets"]["all"]["n_s_score"] == 4  # as search --exclude-self gives it
    (tmp_path / "half.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:4]))
    found = scores("names.txt", "--format", "ukbench", "--ranking", "half.jsonl", "--allow-missing")
    assert found["subsets"]["all"]["n_s_score"] == 2  # four queries of 4, four that nothing answers of 0


def test_places_that_nobody_is_known_to_have_are_no_distractors_and_on_no_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("100000.jpg\n100001.jpg\n")
    (tmp_path / "run.dat").write_text("100000.jpg 3 100001.jpg\n")
    asked = ["names.txt", "--format", "holidays", "--ranking", "run.dat", "--html", "page.html"]
    found = scores(*asked)
    assert found["protocol"]["counts"]["distractors"] == 0
    assert found["subsets"]["all"]["map"] == pytest.approx(1 / 8)  # rank 3: 1/(2 (3 + 1))
    assert "nothing at place" not in (tmp_path / "page.html").read_text()


def test_an_evaluation_with_nothing_to_find_ends_with_a_line(place):
    (place / "alone.csv").write_text("path,label\na/0.png,x\nb/1.png,y\n")
    assert "nothing to score" in run("eval", "alone.csv", "--index", "index", code=1).stderr


def test_a_format_is_reconciled_by_its_own_measure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text(
        "3\nimage_name item_id evaluation_status\na/q.jpg i query\na/r.jpg i gallery\na/s.jpg j gallery\n"
    )
    hits = [{"id": "a/s.jpg", "score": 0.9}, {"id": "a/r.jpg", "score": 0.8}]
    (tmp_path / "run.jsonl").write_text(json.dumps({"query": "a/q.jpg", "results": hits}) + "\n")
    asked = ["list.txt", "--format", "inshop", "--ranking", "run.jsonl"]
    shown = run("eval", *asked, "--reconcile").stdout
    assert "recall@1, one thing changed at a time" in shown
    (tmp_path / "gt.csv").write_text("query_id,reference_id\nQ1,R1\n")
    (tmp_path / "run.csv").write_text("query_id,reference_id,score\nQ1,R1,0.9\n")
    refused = run("eval", "gt.csv", "--ranking", "run.csv", "--published", "50", code=1).stderr
    assert "micro_ap of this format is not reconciled" in refused


def test_options_that_would_do_nothing_are_refused(place):
    run("eval", "labels.csv", "--index", "index", "--queries", "store", "--query-crop", "none", code=2)
    refused = run("eval", "labels.csv", "--index", "index", "--published", "0.678", code=2).stderr
    assert "must be in percent" in refused
    assert "narrower than it should be" not in run("eval", "labels.csv", "--index", "index").stderr


def test_the_pictures_of_a_report_are_of_the_images_that_were_searched(place):
    from imgret.workflows import EvalJob
    from imgret.workflows.reporting import _Finder

    save(place / "queries", "a/0.png", 99)  # another picture of the same name
    finder = _Finder(EvalJob(place / "labels.csv", index=place / "index", images=place / "queries"))
    assert finder.path("a/0.png") == str(place / "photos/a/0.png")
    assert finder.query_path("a/0.png", []) == str(place / "queries/a/0.png")
