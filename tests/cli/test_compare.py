"""imgret compare, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from imgret.ids import escape
from tests.cli.test_cli import run

CARD = {
    "ap": "trapezoid",
    "precision_at_k": "revisitop",
    "depth": "all",
    "ground_truth_sha256": "7" * 64,
    "counts": {"database": 900, "distractors": 0},
    "scales": [1.0, 0.7],
    "store_sha256": "a" * 64,
    "whitening": None,
}


def line(query: str, ap: float | None, subset: str = "medium", **more) -> dict:
    values = {"ap": ap, "p@1": None if ap is None else float(ap > 0.5), "first_rank": 1, "positives": 4, "found": 4}
    if ap is None:
        values |= {"first_rank": None, "positives": 0, "found": 0}
    return {"query": escape(query), "subset": subset, **values, **more}


def document(lines: list[dict], **card) -> dict:
    return {
        "schema": "imgret.eval/1",
        "format": "revisitop",
        "protocol": {**CARD, **card},
        "subsets": {},
        "per_query": lines,
    }


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Forty queries, of which B answers thirty better by five points and ten worse by one; the current folder."""
    monkeypatch.chdir(tmp_path)
    a = [line(f"q{n}.jpg", n / 50) for n in range(40)]
    b = [line(f"q{n}.jpg", n / 50 + (-0.01 if n % 4 == 3 else 0.05)) for n in range(40)]
    write(tmp_path / "a.json", document(a))
    write(tmp_path / "b.json", document(b, rerank="aqe:k=5", store_sha256="b" * 64, whitening={"kind": "pca"}))
    return tmp_path


def compared(*arguments: object) -> dict:
    return json.loads(run("compare", "a.json", "b.json", "--json", *arguments).stdout, parse_constant=pytest.fail)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_table_says_who_is_better_and_by_how_much(place):
    result = run("compare", "a.json", "b.json")
    assert result.stderr == ""
    shown = words(result.stdout)
    # A: mean of 0, 0.02, ... 0.78; difference (30 * 0.05 - 10 * 0.01) / 40 = 0.035
    assert "mAP (trapezoid) A B B - A 95 % interval p better worse equal" in shown
    assert "medium 39.00 42.50 +3.50 +2.75 to +4.25 <0.001 30 10 0" in shown
    assert shown.endswith("medium: B is better by 3.50 points (95 % interval 2.75 to 4.25, p < 0.001).")
    turned = run("compare", "b.json", "a.json").stdout
    assert "A is better by 3.50 points (95 % interval 2.75 to 4.25, p < 0.001)." in turned
    assert "medium 42.50 39.00 -3.50 -4.25 to -2.75" in words(turned)


def test_the_queries_that_moved_most_are_listed_both_ways(place):
    shown = words(run("compare", "a.json", "b.json", "--top", "1").stdout)
    assert "medium: moved most query A B B - A" in shown
    (gained,) = compared("--top", "1")["subsets"]["medium"]["gained"]
    (lost,) = compared("--top", "1")["subsets"]["medium"]["lost"]
    assert gained["b"] - gained["a"] == pytest.approx(0.05)
    assert lost["b"] - lost["a"] == pytest.approx(-0.01)
    for one, by in ((gained, "+5.00"), (lost, "-1.00")):
        assert f"{one['query']} {100 * one['a']:.2f} {100 * one['b']:.2f} {by}" in shown
    assert "moved most" not in run("compare", "a.json", "b.json", "--top", "0").stdout


def test_only_the_fields_of_the_protocol_that_differ_are_shown(place):
    shown = words(run("compare", "a.json", "b.json").stdout)
    assert "rerank – aqe:k=5" in shown
    assert f"store_sha256 {'a' * 16}... {'b' * 16}..." in shown
    assert "whitening.kind – pca" in shown
    assert "distractors" not in shown
    protocol = compared()["protocol"]
    assert protocol["store_sha256"] == {"a": "a" * 64, "b": "b" * 64}
    assert protocol["whitening.kind"] == {"a": None, "b": "pca"}
    assert sorted(protocol) == ["rerank", "store_sha256", "whitening.kind"]


def test_a_run_beside_itself_differs_in_nothing(place):
    shown = run("compare", "a.json", "a.json").stdout
    assert "The protocols are the same." in shown
    assert "A and B score the same on 40 queries." in shown
    write(place / "b.json", document([line(f"q{n}.jpg", n / 50) for n in range(40)]))
    found = compared()
    assert found["protocol"] == {}
    values = found["subsets"]["medium"]
    assert (values["difference"], values["interval"], values["p"], values["equal"]) == (0, [0, 0], 1, 40)
    assert values["winner"] is None


def test_json_holds_the_comparison(place):
    found = compared()
    assert (found["schema"], found["a"], found["b"]) == ("imgret.compare/1", "a.json", "b.json")
    assert (found["measure"], found["ap"], found["seed"]) == ("ap", "trapezoid", 0)
    values = found["subsets"]["medium"]
    assert list(values) == [
        *("queries", "a", "b", "difference", "interval", "level", "p", "winner", "better", "worse", "equal"),
        *("gained", "lost", "only_a", "only_b", "undefined"),
    ]
    assert values["difference"] == pytest.approx(0.035)
    assert values["interval"] == pytest.approx([0.0275, 0.0425], abs=0.001)
    assert (values["level"], values["winner"], values["better"], values["worse"]) == (0.95, "b", 30, 10)
    assert len(values["gained"]) == len(values["lost"]) == 10


def test_a_seed_gives_the_same_output(place):
    assert compared("--seed", "7") == compared("--seed", "7")
    assert compared("--seed", "7") != compared("--seed", "8")


def test_few_queries_show_no_difference(place):
    write(place / "a.json", document([line("q1", 0.5), line("q2", 0.25)]))
    write(place / "b.json", document([line("q1", 0.625), line("q2", 0.5)]))
    # differences 12.5 and 25 points; of the 4 patterns of signs two are as far from 0
    text = "medium: No difference that 2 queries can show (+18.75 points, 95 % interval +12.50 to +25.00, p = 0.500)."
    assert text in run("compare", "a.json", "b.json").stdout
    write(place / "b.json", document([line("q1", 0.625), line("q3", 0.5)]))
    one = run("compare", "a.json", "b.json")
    assert "No difference that 1 query can show (+12.50 points, p = 1.000)." in one.stdout
    assert "medium 50.00 62.50 +12.50 – 1.000 1 0 0" in words(one.stdout)


def test_queries_left_out_are_counted_and_named(place):
    write(place / "a.json", document([line("q1", 0.5), line("none", None), *(line(f"a{n}", 0.1) for n in range(7))]))
    write(place / "b.json", document([line("q1", 0.5), line("none", None), line("n\new", 0.3)]))
    told = run("compare", "a.json", "b.json").stderr.splitlines()
    assert told == [
        "medium: left out, in A only: 7 queries: a0, a1, a2, a3, a4 and 2 more (-v shows all)",
        r"medium: left out, in B only: 1 query: n\x0aew",
        "medium: left out, without a positive: 1 query: none",
    ]
    assert "a4, a5, a6" in run("compare", "a.json", "b.json", "-v").stderr
    assert run("compare", "a.json", "b.json", "-q").stderr == ""
    values = compared("-q")["subsets"]["medium"]
    assert (len(values["only_a"]), values["only_b"], values["undefined"]) == (7, [r"n\x0aew"], ["none"])


def test_every_subset_has_its_row_and_its_sentence(place):
    for name, by in (("a.json", 0.0), ("b.json", 0.25)):
        hard = [line(f"q{n}", None, "hard") for n in range(3)]
        write(place / name, document([*(line(f"q{n}", 0.5 + by, "easy") for n in range(8)), *hard]))
    shown = run("compare", "a.json", "b.json").stdout.splitlines()
    # all 8 differences agree: 2 of 256 patterns of signs
    assert shown[-2] == "easy: B is better by 25.00 points (95 % interval 25.00 to 25.00, p = 0.008)."
    assert shown[-1] == "hard: No query to compare."
    assert "hard – – – – – 0 0 0" in words("\n".join(shown))
    assert list(compared("--subset", "hard")["subsets"]) == ["hard"]
    assert compared("--subset", "hard")["subsets"]["hard"]["p"] is None
    refused = run("compare", "a.json", "b.json", "--subset", "esay", code=1).stderr
    assert "unknown subset 'esay' (did you mean easy?); known: easy, hard" in refused


@pytest.mark.parametrize(("name", "field"), [("map", "ap"), ("ap", "ap"), ("mp@1", "p@1"), ("p@1", "p@1")])
def test_a_measure_goes_by_the_name_of_its_mean_too(place, name, field):
    assert compared("--measure", name)["measure"] == field


def test_recall_is_read_off_the_first_rank_and_a_positive_never_found_is_a_miss(place):
    ranks = {"q1": (1, 4), "q2": (5, None), "q3": (6, 5), "q4": (None, 2)}
    for number, name in enumerate(("a.json", "b.json")):
        lines = [line(query, 0.5, first_rank=both[number]) for query, both in ranks.items()]
        write(place / name, document([*lines, line("none", None)]))
    values = compared("--measure", "recall@5", "-q")["subsets"]["medium"]
    # A has q1 and q2 among the first five, B all but q2; the query without positives is left out
    assert (values["a"], values["b"], values["undefined"]) == (0.5, 0.75, ["none"])
    assert [one["query"] for one in values["gained"]] == ["q3", "q4"]
    assert [one["query"] for one in values["lost"]] == ["q2"]


def test_a_score_that_is_no_fraction_is_no_percentage(place):
    write(place / "a.json", document([line(f"q{n}", 0.5, n_s_score=2.0, first_place=5) for n in range(9)]))
    write(place / "b.json", document([line(f"q{n}", 0.5, n_s_score=3.0, first_place=2) for n in range(9)]))
    # all 9 differences agree: 2 of 512 patterns of signs
    score = run("compare", "a.json", "b.json", "--measure", "n_s_score").stdout
    assert "medium 2.00 3.00 +1.00 +1.00 to +1.00 0.004 9 0 0" in words(score)
    assert "B is better by 1.00 (95 % interval 1.00 to 1.00, p = 0.004)." in score
    first = run("compare", "a.json", "b.json", "--measure", "first_place").stdout
    assert "medium 5.00 2.00 -3.00 -3.00 to -3.00 0.004 9 0 0" in words(first)
    assert "B is better by 3.00 (95 % interval 3.00 to 3.00, p = 0.004)." in first


def test_a_measure_that_is_not_in_both_is_refused_with_those_that_are(place):
    lines = [line("q1", 0.5)]
    write(place / "b.json", document([{key: value for key, value in lines[0].items() if key != "p@1"}]))
    refused = run("compare", "a.json", "b.json", "--measure", "p@1", code=1).stderr
    assert refused == "imgret: unknown measure 'p@1'; known: ap\n"
    assert "unknown measure" in run("compare", "a.json", "b.json", "--measure", "first_rank", code=1).stderr


def test_runs_judged_by_different_ground_truths_are_refused(place):
    write(place / "b.json", document([line("q1", 0.5)], ground_truth_sha256="8" * 64))
    (told,) = run("compare", "a.json", "b.json", code=1).stderr.splitlines()
    assert "judged by different ground truths (a.json: 7777777777777777, b.json: 8888888888888888)" in told
    assert "nothing can be compared" in told


def test_runs_scored_by_different_rules_are_refused(place):
    write(place / "b.json", document([line("q1.jpg", 0.5)], ap="finite", precision_at_k="plain"))
    (told,) = run("compare", "a.json", "b.json", code=1).stderr.splitlines()
    assert "a.json has average precision by the rule 'trapezoid', b.json by 'finite'" in told
    write(place / "b.json", document([line("q1.jpg", 0.5)], precision_at_k="plain"))
    (told,) = run("compare", "a.json", "b.json", "--measure", "mp@1", code=1).stderr.splitlines()
    assert "precision by the rule 'revisitop', b.json by 'plain'" in told
    run("compare", "a.json", "b.json")  # the rule of another measure is no obstacle
    write(place / "b.json", document([line("q1.jpg", 0.5, "all")]))
    assert "a.json is scored in medium, b.json in all" in run("compare", "a.json", "b.json", code=1).stderr


def test_runs_without_a_common_query_are_refused(place):
    write(place / "b.json", document([line("other", 0.5)]))
    assert "have no query in common" in run("compare", "a.json", "b.json", code=1).stderr


OLD = {key: value for key, value in document([]).items() if key != "per_query"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("query,ap\nq1,0.5\n", "is not JSON"),
        ('{"schema": NaN}', "NaN is no number of JSON"),
        ("[1, 2]", "it names no schema"),
        ({"schema": "imgret.search/1", "query": "q"}, "its schema is 'imgret.search/1', not 'imgret.eval/1'"),
        (OLD, "made by an older imgret and has no scores of single queries"),
        (document([]), "damaged (ValueError: no queries)"),
        ({**document([line("q1", 0.5)]), "protocol": None}, "damaged (TypeError"),
        (document([{"query": "q1", "ap": 0.5}]), "damaged (KeyError: 'subset')"),
        (document([line("q1", 0.5)] * 2), "query q1 is there twice in medium"),
        (document([{**line("q1", 0.5), "ap": "high"}]), "ap of query q1 is 'high'"),
        (document([{**line("q1", 0.5), "ap": True}]), "ap of query q1 is True"),
    ],
    ids=str,
)
def test_another_file_is_refused_with_what_to_type(place, content, why):
    write(place / "b.json", content)
    (told,) = run("compare", "a.json", "b.json", code=1).stderr.splitlines()
    assert told.startswith("imgret: b.json ")
    assert why in told
    assert told.endswith("Make it again: imgret eval GROUND_TRUTH ... --json > b.json")


def test_a_file_that_is_not_there_is_named_and_a_missing_argument_is_wrong_usage(place):
    assert run("compare", "a.json", "c.json", code=1).stderr == "imgret: c.json: No such file or directory\n"
    run("compare", "a.json", code=2)
    run("compare", "a.json", "b.json", "--top", "-1", code=2)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "80"}])
def test_stdout_is_plain_data_and_no_number_is_folded(place, environment):
    code = "import sys; sys.argv = ['imgret', 'compare', 'a.json', 'b.json']; from imgret.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=True
    )
    assert done.stderr == ""
    assert "\x1b[3" not in done.stdout
    assert "medium 39.00 42.50 +3.50 +2.75 to +4.25 <0.001 30 10 0" in words(done.stdout)


def test_an_id_that_is_no_text_comes_out_as_it_went_in(place):
    name = b"a\\b/\xff[red]\n.jpg".decode("utf-8", "surrogateescape")
    write(place / "a.json", document([line(name, 0.25)]))
    write(place / "b.json", document([line(name, 0.5)]))
    (moved,) = compared()["subsets"]["medium"]["gained"]
    assert moved["query"] == escape(name) == r"a\\b/\xff[red]\x0a.jpg"
    assert escape(name) in run("compare", "a.json", "b.json").stdout
