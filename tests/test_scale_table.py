"""tests/benchmarks/scale_table.py reckons right, and docs/scale.md shows what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.scale_table import COSTS, amount, duration, rows, table

ROOT = Path(__file__).parent.parent
COST = {name: one.value for name, one in COSTS.items()}


def test_the_docs_show_the_table_that_the_script_prints():
    shown = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    assert table(COST) in shown, "run: python tests/benchmarks/scale_table.py"


def test_machines_and_hours_keep_the_deadline():
    # 100 million x 0.04 core s / 16 cores = 250,000 s, 2.9 days: 3 machines, 83,333 s each
    found = rows(100_000_000, COST | {"glam_small": 0.04, "cores": 16, "deadline": 86_400}, None)
    assert found["describing, glam-small: machines x time"] == "3 x 23 h"


def test_what_a_machine_cannot_hold_is_marked():
    cost = COST | {"merge_memory": 60, "memory": 64e9}
    assert rows(1_000_000_000, cost, None)["merging parts: memory"] == "60 GB"
    assert rows(10_000_000_000, cost, None)["merging parts: memory"] == "**600 GB**"


def test_nothing_is_said_of_gpus_unless_someone_says_how_fast_they_are():
    assert "GPU" not in table(COST)
    # 10 billion at 1,000 a second are 115.7 days; 1,000 photographs a second x 0.0164 core s to decode each
    found = rows(10_000_000_000, COST | {"decode": 0.0164}, 1000)
    assert found["describing on GPUs: GPUs x time"] == "116 x 24 h"
    assert found["cores that decode for each of them"] == "17"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0012, "1.2 ms"),
        (0.6, "600 ms"),
        (1.2, "1.2 s"),
        (75, "75 s"),
        (540, "9.0 min"),
        (5400, "1.5 h"),
        (7e5, "8.1 days"),
    ],
)
def test_durations_are_in_the_unit_that_suits(seconds, words):
    assert duration(seconds) == words


def test_sizes_are_in_thousands():
    assert [amount(size) for size in (62e6, 1.125e9, 620e9, 11.25e12)] == ["62 MB", "1.1 GB", "620 GB", "11 TB"]
