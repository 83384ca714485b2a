from __future__ import annotations

from imgret import atomic
from imgret.store.failures import Failure, Failures, load


def failed(number: int) -> Failure:
    return Failure(f"{number}.jpg", f"/photos/{number}.jpg", "empty", "the file has no bytes", 0, number)


def test_a_register_comes_back_as_it_was_saved(tmp_path):
    path = tmp_path / "failures.csv"
    register = Failures(path)
    assert len(register) == 0
    for number in range(3):
        register.add(failed(number))
    register.forget("1.jpg")
    register.forget("no such image")
    register.save()
    assert load(path) == [failed(0), failed(2)]
    assert Failures(path)["2.jpg"] == failed(2)


def test_a_register_that_did_not_change_is_not_written(tmp_path):
    path = tmp_path / "failures.csv"
    register = Failures(path)
    register.save()
    assert not path.exists()
    register.add(failed(0))
    register.save()
    path.unlink()
    register.add(failed(0))
    register.save()
    assert not path.exists()


def test_failures_that_come_with_every_shard_are_not_written_every_time(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(atomic, "write_with", lambda path, fill: written.append(len(register)))
    register = Failures(tmp_path / "failures.csv")
    for number in range(1000):
        register.add(failed(number))
        register.save(every_change=False)
    # each time an eighth is new: 1, 2, ... 8, then at least 9/8 as many; 1 + 8 + ln(1000 / 8) / ln(9 / 8) = 50 at most
    assert len(written) <= 50
    assert sum(written) < 1000 * 10
    register.save()
    assert written[-1] == 1000
