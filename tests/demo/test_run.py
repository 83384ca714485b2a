"""The demo from end to end."""

import shlex

import pytest
from typer import Typer
from typer.testing import CliRunner

from imgret.cli.demo import demo
from imgret.demo.run import run_demo
from imgret.errors import InputError

FEW = {"scenes": ("harbour", "book", "plate"), "views": 3, "workers": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    said = []
    report = run_demo(tmp_path_factory.mktemp("demo"), say=said.append, **FEW)
    return report, said


def test_the_demo_finds_another_view_of_nearly_every_scene_with_the_model_that_ships(ran):
    report, _ = ran
    table = {measure: (score, lots) for measure, score, lots in report.table}
    assert table["R@1"][0] >= 0.95
    # each query has 2 positives among the 8 other pictures
    assert table["R@1"][1] == pytest.approx(2 / 8)
    assert not report.protocol["untrained"]


def test_the_demo_writes_a_page_with_a_query_of_every_scene(ran):
    report, _ = ran
    page = report.page.read_text(encoding="utf-8")
    for scene in FEW["scenes"]:
        assert f"<bdi>{scene}/view-1.jpg</bdi>" in page
    assert "UNTRAINED" not in page
    assert 'class="placeholder"' not in page


def test_the_demo_says_the_commands_that_do_the_same(ran):
    report, said = ran
    commands = [shlex.split(line)[1:] for line in said if line.lstrip().startswith("$")]
    assert [words[1] for words in commands] == ["extract", "index", "eval", "search"]
    assert str(report.store) in commands[0]


def test_running_again_keeps_what_is_there(ran):
    report, _ = ran
    shards = {path: path.stat().st_mtime_ns for path in report.store.glob("*.h5")}
    again = run_demo(report.store.parent, **FEW)
    assert again.collection.drawn == 0
    assert {path: path.stat().st_mtime_ns for path in report.store.glob("*.h5")} == shards
    assert again.scores.subsets == report.scores.subsets


def test_the_queries_keep_their_names_wherever_the_demo_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = run_demo(tmp_path / "out", scenes=("book", "plate"), views=2, workers=0, device="cpu")
    page = report.page.read_text(encoding="utf-8")
    assert "<bdi>plate/view-1.jpg</bdi>" in page


@pytest.mark.slow
def test_the_full_demo_from_the_command_line(tmp_path):
    app = Typer()
    app.command()(demo)
    result = CliRunner().invoke(app, ["-o", str(tmp_path / "demo"), "--offline", "--workers", "0"])
    assert result.exit_code == 0, result.output
    assert "mAP" in result.stdout
    assert "chance" in result.stdout
    assert "$ imgret extract" in result.stderr
    scores = {line.split()[0]: float(line.split()[1]) for line in result.stdout.splitlines() if "%" in line}
    assert scores["mAP"] > 90
    assert scores["R@1"] >= 95


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(InputError, match="a new folder"):
        run_demo(tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"
