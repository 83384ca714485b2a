"""imgret whiten, and --whitening of the other commands, as a user types them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from imgret.store import Store
from imgret.whitening import Whitening
from tests.cli.test_cli import FAST, answers, run
from tests.pictures import save

# in half precision what a toy's few colours are rounded by would be whitened too
EXACT = [*FAST, "--store-dtype", "float32"]


@pytest.fixture
def place(tmp_path, monkeypatch, mean_colour):
    """Photos with a store, other photos with another, and a whitening of the others; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        save(tmp_path / "photos", f"{'ab'[number % 2]}/{number}.png", number)
    for number in range(30):
        save(tmp_path / "others", f"other-{number}.png", 100 + number)
    for name, store in (("photos", "store"), ("others", "other-store")):
        run("extract", name, "-o", store, "--model", mean_colour, *EXACT)
    run("whiten", "other-store", "-o", "white.safetensors", "--dim", "2")
    return tmp_path


def rows_of(store: str) -> tuple[list[str], np.ndarray]:
    blocks = list(Store.open(store).blocks())
    return [raw.decode() for block in blocks for raw in block.ids], np.concatenate([one.descriptors for one in blocks])


def document(*arguments: object) -> dict:
    return json.loads(run("eval", "labels.csv", "--json", *arguments).stdout)


def test_whiten_talks_on_stderr_and_says_what_comes_next(place):
    result = run("whiten", "other-store", "-o", "w.safetensors")
    assert result.stdout == ""
    assert "30 descriptors of other-store" in result.stderr
    assert "3 -> 3" in result.stderr
    assert "imgret index STORE -o INDEX --whitening w.safetensors" in result.stderr
    assert run("whiten", "other-store", "-o", "w.safetensors", "-q").stderr == ""
    assert "store_sha256" in run("whiten", "other-store", "-o", "w.safetensors", "-v").stderr


@pytest.mark.parametrize("kind", ["flat", "IVF2,Flat"])
def test_queries_are_whitened_as_the_index_is(place, kind):
    chosen = ["--kind", kind] if kind == "flat" else ["--factory", kind]
    result = run("index", "store", "-o", "index", "--whitening", "white.safetensors", *chosen)
    assert "Whitened: pca, power 1, 3 -> 2 dimensions, fitted on 30 descriptors of other-store" in result.stderr
    (place / "white.safetensors").unlink()
    ids, raw = rows_of("store")
    white = Whitening.load(place / "index/whitening-1.safetensors").apply(raw)
    tolerance = 1e-4 if kind == "flat" else 1e-3  # lists keep their vectors in half precision
    for queries in ("photos", "store"):  # images, and a store of descriptors that are not whitened
        found = answers(run("search", "index", queries, "-k", "8", "--workers", "0"))
        assert [entry["query"] for entry in found] == ids
        for line, entry in enumerate(found):
            for hit in entry["results"]:
                assert hit["score"] == pytest.approx(float(white[line] @ white[ids.index(hit["id"])]), abs=tolerance)
            assert entry["results"][0]["score"] == pytest.approx(1, abs=tolerance)


def test_search_refuses_another_whitening_than_the_index_has(place):
    run("index", "store", "-o", "index", "--whitening", "white.safetensors")
    run("index", "store", "-o", "plain")
    assert answers(run("search", "index", "store", "-k", "1", "--whitening", "white.safetensors"))
    run("whiten", "other-store", "-o", "more.safetensors")
    refused = run("search", "index", "store", "--whitening", "more.safetensors", code=1).stderr
    assert "index was built with pca, power 1, 3 -> 2 dimensions" in refused
    assert (
        "plain was built with no whitening"
        in run("search", "plain", "store", "--whitening", "more.safetensors", code=1).stderr
    )
    (place / "labels.csv").write_text("path,label\na/0.png,x\na/2.png,x\n")
    run("eval", "labels.csv", "--index", "index", "--whitening", "white.safetensors")
    assert (
        "built with" in run("eval", "labels.csv", "--index", "index", "--whitening", "more.safetensors", code=1).stderr
    )


def test_eval_whitens_a_store_and_all_its_queries_alike(place, mean_colour):
    lines = [f"{'ab'[n % 2]}/{n}.png,{'xy'[n // 4]}" for n in range(8)]
    (place / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    run("index", "store", "-o", "index", "--whitening", "white.safetensors")
    whitened = ["--store", "store", "--whitening", "white.safetensors"]
    own = document(*whitened)
    ready = document(*whitened, "--queries", "store")
    shown = document(*whitened, "--images", "photos", "--workers", "0")
    index = document("--index", "index")
    indexed = document("--index", "index", "--queries", "store")
    for other in (ready, shown, index, indexed):
        assert other["subsets"] == own["subsets"]
        assert other["protocol"]["whitening"] == own["protocol"]["whitening"]
    card = own["protocol"]["whitening"]
    assert (card["kind"], card["dim_in"], card["dim"], card["count"]) == ("pca", 3, 2, 30)
    assert card["sha256"] == Whitening.load(place / "white.safetensors").sha256
    # what it does is seen in the scores
    raw = document("--store", "store")
    assert raw["protocol"]["whitening"] is None
    assert raw["subsets"] != own["subsets"]
    card_on_screen = run("eval", "labels.csv", *whitened).stdout
    assert "pca, power 1, 3 -> 2 dimensions, fitted on 30 descriptors of other-store" in " ".join(
        card_on_screen.split()
    )


def test_a_whitening_fitted_on_the_scored_set_is_told(place):
    (place / "labels.csv").write_text("path,label\na/0.png,x\na/2.png,x\n")
    honest = run("eval", "labels.csv", "--store", "store", "--whitening", "white.safetensors", "--json")
    assert "warning" not in honest.stderr
    fitted = json.loads(honest.stdout)["protocol"]["whitening"]
    assert (fitted["fitted_on_scored_set"], fitted["shared_images"]) == (False, 0)

    run("whiten", "store", "-o", "own.safetensors")
    run("index", "store", "-o", "index", "--whitening", "own.safetensors")
    for how in (["--store", "store", "--whitening", "own.safetensors"], ["--index", "index"]):
        told = run("eval", "labels.csv", *how, "--json", "-q")
        (line,) = [line for line in told.stderr.splitlines() if "warning" in line]
        assert "fitted on 8 of the images that are scored" in line
        fitted = json.loads(told.stdout)["protocol"]["whitening"]
        assert (fitted["fitted_on_scored_set"], fitted["shared_images"]) == (True, 8)
        assert "SCORED here" in " ".join(run("eval", "labels.csv", *how).stdout.split())


def test_a_part_of_the_scored_set_or_its_queries_is_enough_to_be_told(place, mean_colour):
    (place / "labels.csv").write_text("path,label\na/0.png,x\na/2.png,x\n")
    # the same images extracted again, into another store with other shards: told by their ids
    run("extract", "photos/a", "--root", "photos", "-o", "again", "--model", mean_colour, "--shard-size", "1", *EXACT)
    run("whiten", "again", "-o", "part.safetensors")
    result = run("eval", "labels.csv", "--store", "store", "--whitening", "part.safetensors")
    assert "fitted on 4 of the images that are scored" in result.stderr
    # queries that are not in the database
    save(place / "asked", "q/1.png", 0)
    run("extract", "asked", "photos/b", "--root", ".", "-o", "asked-store", "--model", mean_colour, *EXACT)
    run("whiten", "asked-store", "-o", "asked.safetensors")
    (place / "labels.csv").write_text("path,label,split\nasked/q/1.png,x,query\na/0.png,x,database\n")
    result = run(
        "eval", "labels.csv", "--store", "again", "--whitening", "asked.safetensors", "--queries", "asked-store"
    )
    assert "fitted on 5 of the images that are scored" in result.stderr


def test_learned_whitening_from_labels_and_from_listed_pairs(place):
    lines = [f"other-{n}.png,{n // 3}" for n in range(30)]
    (place / "others.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    result = run("whiten", "other-store", "-o", "l.safetensors", "--kind", "learned", "--pairs", "others.csv")
    assert "learned from 30 pairs" in result.stderr  # ten labels of three images: 10 * 3 * 2 / 2
    (place / "pairs.csv").write_text(
        "query,positive\nother-0.png,other-1.png\nother-2.png,other-3.png\nno.png,other-3.png\n"
    )
    arguments = ["whiten", "other-store", "-o", "l.safetensors", "--kind", "learned", "--pairs", "pairs.csv"]
    assert "no.png" in run(*arguments, code=1).stderr
    result = run(*arguments, "--allow-missing")
    assert "1 pairs were left out" in result.stderr
    assert "Only 2 pairs for 3 dimensions" in result.stderr
    assert "vary in 2 of 3 directions, so alpha I with alpha 1e-10 was added" in result.stderr
    run("index", "store", "-o", "index", "--whitening", "l.safetensors")
    assert (
        "Whitened: learned, from 2 pairs" in run("index", "store", "-o", "other", "--whitening", "l.safetensors").stderr
    )


def test_what_does_not_vary_is_said(place, mean_colour):
    for number in range(3):
        shutil.copy(place / f"others/other-{number}.png", place / f"photos/few-{number}.png")
    run("extract", "photos/few-0.png", "photos/few-1.png", "-o", "few", "--model", mean_colour, *EXACT)
    result = run("whiten", "few", "-o", "f.safetensors")
    assert "vary in 1 of 3 directions; the other 2 (variance below" in result.stderr
    assert "are dropped" in result.stderr


def test_info_explains_a_whitening_and_an_index_that_has_one(place):
    shown = run("info", "white.safetensors")
    assert "sound" in shown.stderr
    for word in ("3 -> 2", "pca", "other-store", "recipe: model"):
        assert word in shown.stdout
    run("index", "store", "-o", "index", "--whitening", "white.safetensors")
    assert "pca, power 1, 3 -> 2" in run("info", "index").stdout
    data = bytearray((place / "white.safetensors").read_bytes())
    data[-9] ^= 4
    (place / "white.safetensors").write_bytes(bytes(data))
    assert "damaged" in run("info", "white.safetensors", code=1).stderr
    assert "damaged" in run("index", "store", "-o", "index2", "--whitening", "white.safetensors", code=1).stderr
    copy = place / "index/whitening-1.safetensors"
    data = bytearray(copy.read_bytes())
    data[-9] ^= 4
    copy.write_bytes(bytes(data))
    assert "damaged" in run("info", "index", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["whiten", "nowhere", "-o", "w.safetensors"], 1, "is not a store"),
        (["whiten", "store", "-o", "w.npz"], 2, "w.safetensors"),
        (["whiten", "store", "-o", "no/w.safetensors"], 1, "folder does not exist"),
        (["whiten", "store", "-o", "w.safetensors", "--dim", "4"], 1, "--dim 4 is more than the 3"),
        (["whiten", "store", "-o", "w.safetensors", "--dim", "0"], 2, "--dim"),
        (["whiten", "store", "-o", "w.safetensors", "--power", "2"], 2, "--power"),
        (["whiten", "store", "-o", "w.safetensors", "--kind", "lerned"], 2, "did you mean learned?"),
        (["whiten", "store", "-o", "w.safetensors", "--kind", "learned"], 2, "--pairs"),
        (["whiten", "store", "-o", "w.safetensors", "--pairs", "x.csv"], 2, "--kind learned"),
        (
            ["whiten", "store", "-o", "w.safetensors", "--kind", "learned", "--pairs", "x.csv"],
            1,
            "x.csv cannot be read",
        ),
        (
            ["whiten", "store", "-o", "w.safetensors", "--kind", "learned", "--pairs", "x", "--power", "1"],
            2,
            "--power goes with --kind pca",
        ),
        (["index", "store", "-o", "i", "--whitening", "no.safetensors"], 1, "imgret whiten STORE"),
        (["index", "store", "-o", "i", "--whitening", "store/store.json"], 1, "is not a whitening"),
        (["eval", "labels.csv", "--ranking", "r", "--whitening", "white.safetensors"], 2, "--whitening"),
    ],
)
def test_bad_input_gets_one_clear_line_and_its_exit_code(place, arguments, code, words):
    result = run(*arguments, code=code)
    assert words in " ".join(result.output.replace("│", " ").split()), result.output
    assert "Traceback" not in result.output
    if code == 1:
        assert len([line for line in result.stderr.splitlines() if line.startswith("imgret:")]) == 1


def test_a_whitening_of_another_recipe_is_refused_naming_what_differs(place, mean_colour):
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
    (place / "labels.csv").write_text("path,label\na/0.png,x\na/2.png,x\n")
    for command in (
        ["index", "small", "-o", "i"],
        ["eval", "labels.csv", "--store", "small"],
    ):
        failed = run(*command, "--whitening", "white.safetensors", code=1).stderr
        assert "image_size is 64 there and 32 here" in failed
    assert not (place / "i").exists()


def test_a_whitening_is_no_model_and_weights_are_no_whitening(place, mean_colour):
    from imgret.models import load_model, save_weights

    save_weights(load_model(mean_colour, weights="none").model, place / "mine.safetensors", {"made": "here"})
    refused = run("index", "store", "-o", "i", "--whitening", "mine.safetensors", code=1).stderr
    assert "holds the weights of a model" in refused
    before = (place / "mine.safetensors").read_bytes()
    assert "is not a whitening" in run("whiten", "store", "-o", "mine.safetensors", code=1).stderr
    assert (place / "mine.safetensors").read_bytes() == before
    assert "imgret.whitening/1" in run("extract", "photos", "-o", "s", "--model", "white.safetensors", code=1).stderr
