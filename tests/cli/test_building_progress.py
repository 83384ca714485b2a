"""What `imgret index` says while it works, and after."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from imgret.cli import building_progress
from imgret.cli.app import app
from imgret.indexes import plan
from tests.indexes.conftest import add_shard, clustered, names, save, write_store


def test_without_a_terminal_there_is_a_line_every_ten_seconds(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(building_progress.time, "monotonic", lambda: clock[0])
    with building_progress.building_progress(quiet=False) as show:
        for done in range(0, 1001, 100):  # 100 rows in 2.5 seconds: a line after 10 and after 20
            show("adding vectors", done, 1000)
            clock[0] += 2.5
    assert capsys.readouterr().err.splitlines() == [
        "imgret: adding vectors: 400 of 1,000, about 15 s left",
        "imgret: adding vectors: 800 of 1,000, about 5 s left",
    ]


def test_going_on_with_a_build_is_said_at_once(capsys):
    with building_progress.building_progress(quiet=False) as show:
        show("resuming", 3000, 5000)
        show("adding vectors", 3100, 5000)
    assert capsys.readouterr().err == "Resuming at 3,000 of 5,000 images.\n"


def test_quiet_shows_nothing():
    with building_progress.building_progress(quiet=True) as show:
        assert show is None


def test_the_tail_is_told_of_and_compacted_away(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SMALL", 0)
    store = write_store(tmp_path / "s", [(names(400), clustered(400))])
    command = ["index", str(store.path), "-o", str(tmp_path / "i")]
    assert CliRunner().invoke(app, command).exit_code == 0
    add_shard(store, names(10, "new"), clustered(10, seed=1))
    store.shards[0].dropped = [5]
    save(store)
    said = CliRunner().invoke(app, command).stderr
    assert "10 images are in a tail beside the base; 10 images have come since recall was measured." in said
    assert "1 removed images still take room; --compact drops them." in said
    said = CliRunner().invoke(app, [*command, "--compact"]).stderr
    assert "409 images" in said
    assert "in a tail" not in said
    assert "--compact" not in said


@pytest.mark.parametrize("quiet", [True, False])
def test_the_kinds_that_were_tried_are_shown(tmp_path, monkeypatch, quiet):
    from imgret.indexes import kinds

    monkeypatch.setattr(kinds, "QUICK", 1000)  # so that exact search counts as slow
    store = write_store(tmp_path / "s", [(names(400), clustered(400))])
    command = ["index", str(store.path), "-o", str(tmp_path / "i"), *(["--quiet"] if quiet else [])]
    said = CliRunner().invoke(app, command).stderr
    assert ("recall@10" in said and "fp16" in said) != quiet
