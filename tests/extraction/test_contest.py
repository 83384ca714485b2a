from __future__ import annotations

import pytest

from imgret.extraction.contest import Contest


def play(contest: Contest[str], seconds: dict[str, float], batches: int) -> list[str]:
    """What was used for each of some batches that take as long as their setting says."""
    used = []
    for _ in range(batches):
        used.append(contest.current)
        contest.note(seconds[contest.current])
    return used


def test_settings_take_turns_and_the_quickest_stays():
    used = play(Contest(["a", "b", "c"], rounds=2), {"a": 3.0, "b": 1.0, "c": 2.0}, 12)
    assert used == ["a", "b", "c"] * 3 + ["b"] * 3  # one turn each to warm up and two that count


def test_the_turn_that_warms_a_setting_up_does_not_count():
    contest = Contest(["a", "b"], rounds=2)
    for seconds in (1.0, 90.0, 1.0, 0.5, 1.0, 0.5):  # a, b, a, b, a, b
        contest.note(seconds)
    assert contest.winner == "b"


def test_the_first_setting_stays_unless_another_is_clearly_better():
    close = Contest(["a", "b"], rounds=1, margin=0.9)
    play(close, {"a": 1.0, "b": 0.95}, 4)
    assert close.winner == "a"


def test_a_lone_setting_has_won():
    contest = Contest(["only"])
    contest.note(5.0)
    assert contest.winner == contest.current == "only"


def test_cost_may_be_something_else_than_time():
    contest = Contest([4, 1], rounds=1, cost=lambda threads, seconds: threads * seconds)
    for seconds in (1.0, 2.0, 1.0, 2.0):
        contest.note(seconds)
    assert contest.winner == 1  # 1 x 2 s < 4 x 1 s


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_contest_lasts_one_turn_more_than_its_rounds(rounds):
    contest = Contest(["a", "b"], rounds=rounds)
    for _ in range(2 * (rounds + 1)):
        assert contest.winner is None
        contest.note(1.0)
    assert contest.winner == "a"
