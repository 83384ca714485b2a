from __future__ import annotations

import sys

import pytest
import torch

from imgret.extraction import stream, threads
from imgret.extraction.stream import describe_stream
from imgret.extraction.threads import ThreadSplit
from imgret.images import files
from imgret.images.decode import DecodeRule
from tests.pictures import save


@pytest.fixture
def eight(monkeypatch):
    """Eight cores and as many threads, none of them real."""
    now = [8]
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: now.__setitem__(0, count))
    return now


def run(split: ThreadSplit, now: list[int], seconds: dict[int, float], decode: float) -> int:
    """Describe batches of one image, as long as the number of threads says; the threads in the end."""
    for _ in range(20):
        if split.settled:
            break
        split.described(seconds[now[0]], 1, decode)
    return now[0]


def test_a_model_that_gains_by_every_core_keeps_them_all(eight):
    # max(1, (2 + 8 x 1) / 8) = 1.25 s an image on eight threads, max(2, (2 + 4 x 2) / 8) = 2 on four
    with ThreadSplit(True) as split:
        assert run(split, eight, {8: 1.0, 4: 2.0}, decode=2.0) == 8


def test_a_model_that_gains_nothing_leaves_cores_to_decoding(eight):
    # max(1, (16 + 8) / 8) = 3 s an image on eight threads, max(1, (16 + 4) / 8) = 2.5 on four
    with ThreadSplit(True) as split:
        assert run(split, eight, {8: 1.0, 4: 1.0}, decode=16.0) == 4
    assert eight == [8]  # as before


def test_a_short_run_tries_nothing(eight):
    with ThreadSplit(False) as split:
        assert split.settled
    assert eight == [8]


class _Trying:
    """Describes by the first pixel, and has something of its own to try for the first three batches."""

    ahead = 0

    def __init__(self, device):
        self.device = torch.device(device)
        self.batches = 0

    @property
    def settled(self):
        return self.batches >= 3

    def begin(self, pixels):
        self.batches += 1
        return lambda: pixels[:, 0, 0].astype("float32")


@pytest.mark.parametrize(("device", "first"), [("cpu", 4), ("meta", None)])
def test_threads_are_tried_after_all_else_and_on_a_processor_only(tmp_path, monkeypatch, eight, device, first):
    for number in range(8):
        save(tmp_path, f"{number}.png", number, (8, 8))
    describe, told = _Trying(device), []
    note = ThreadSplit.described
    monkeypatch.setattr(ThreadSplit, "described", lambda *what: told.append(describe.batches) or note(*what))
    monkeypatch.setattr(stream, "_ENOUGH", 1)
    images = list(files.find([str(tmp_path)]).images)
    found = describe_stream(images, DecodeRule(8), describe, workers=1, batch_size=1, expected=8)
    assert len(list(found)) == 8
    assert (told[0] if told else None) == first  # the fourth batch is the first that began with nothing else on trial


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),  # a core and a half
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "max 100000"}, sys.maxsize),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, sys.maxsize),
        ({}, sys.maxsize),
    ],
)
def test_a_container_has_its_share_of_the_cores(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert threads._share(tmp_path) == cores
