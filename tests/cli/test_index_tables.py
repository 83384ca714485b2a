from __future__ import annotations

import pytest

from imgret.cli.index_tables import memory_text, millis_text, print_trials, seconds_text

TRIED = {
    "kind": "ivfrabitq",
    "factory": "",
    "memory": 17_640_000,
    "build": 5000,
    "latency": 0.4949,
    "batched": 1.71,
    "recall": 0.9501,
    "parameters": {"nprobe": 1024, "candidates": 8192},
    "left_out": None,
}
NOTHING = dict.fromkeys(("build", "latency", "batched", "recall", "parameters"))


def test_the_chosen_kind_has_a_star_and_a_line_fits_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    flat = TRIED | {"kind": "flat", "left_out": "does not fit in 4 GB", "memory": 8 * 10**9} | NOTHING
    print_trials([flat, TRIED], "ivfrabitq")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line.split() for line in err.splitlines() if line.strip()]
    assert lines[2] == ["flat", "8", "GB"]
    assert lines[3] == ["*ivfrabitq", "18", "MB", "1.4", "h", "0.49", "ms", "1.7", "ms", "0.950", "1,024", "8,192"]
    assert err.splitlines()[-1] == "flat: does not fit in 4 GB."


def test_nothing_tried_prints_nothing(capsys):
    print_trials([], "flat")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (seconds_text(0.42), "0.4 s"),
        (seconds_text(76), "76 s"),
        (seconds_text(600), "10 min"),
        (seconds_text(5400), "1.5 h"),
        (millis_text(0.314), "0.31 ms"),
        (millis_text(170.3), "170 ms"),
        (memory_text(17_640_000), "18 MB"),
    ],
)
def test_two_digits_are_enough_for_a_promise(text, shown):
    assert text == shown
