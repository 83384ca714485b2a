from __future__ import annotations

import numpy as np
import pytest
import torch

from imgret.extraction import describe
from imgret.extraction.describe import Describer
from imgret.extraction.lane import Lane
from imgret.extraction.stream import describe_stream
from imgret.images import files
from imgret.images.decode import DecodeRule
from tests.pictures import save
from tests.toy import MeanColour

CPU = torch.device("cpu")


class _Streams:
    """A device module that notes what is asked of it, in order."""

    def __init__(self):
        self.calls = []
        self.asked = []

    def Stream(self, device):
        return "copies"

    def stream(self, stream):
        self.calls.append(f"on {stream}")
        return torch.no_grad()  # any context will do

    def current_stream(self, device):
        streams = self
        self.asked.append(device)

        class Current:
            def wait_stream(self, stream):
                streams.calls.append(f"wait for {stream}")

        return Current()

    def Event(self):
        streams = self

        class Event:
            def record(self, stream):
                streams.calls.append("record")

            def synchronize(self):
                streams.calls.append("synchronize")

        return Event()


@pytest.fixture
def gpu(monkeypatch):
    """The way of a GPU, walked on the processor."""
    streams = _Streams()
    monkeypatch.setattr(torch, "get_device_module", lambda device: streams)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: streams.calls.append("keep"))
    lane = Lane(torch.device("meta"))  # anything but the processor
    monkeypatch.setattr(
        torch.Tensor, "to", lambda tensor, device, non_blocking: streams.calls.append("copy") or tensor.clone()
    )
    return lane, streams


def test_on_a_processor_pixels_and_rows_are_handed_over_as_they_are():
    lane = Lane(CPU)
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    there = lane.to_device(pixels)
    assert there.data_ptr() == torch.from_numpy(pixels).data_ptr()
    assert lane.from_device(there.float())().tolist() == pixels.astype(np.float32).tolist()
    assert lane.ahead == 0


def test_a_copy_goes_on_a_stream_of_its_own_and_the_model_waits_for_it(gpu):
    lane, streams = gpu
    there = lane.to_device(np.full((1, 2, 2, 3), 7, np.uint8))
    assert streams.calls == ["on copies", "copy", "wait for copies", "keep"]
    assert there.unique().tolist() == [7]
    assert streams.asked == [lane.device]  # not the current device, which is the first GPU


def test_rows_are_waited_for_only_when_they_are_asked_for(gpu):
    lane, streams = gpu
    wait = lane.from_device(torch.tensor([[1.0, 2.0]]))
    assert streams.calls == ["record"]
    assert wait().tolist() == [[1.0, 2.0]]
    assert streams.calls == ["record", "synchronize"]
    assert streams.asked == [lane.device]


class _Late:
    """Describes a picture by its first pixel, and keeps count of the batches under way."""

    def __init__(self, ahead):
        self.ahead = ahead
        self.settled = True
        self.under_way = self.most = 0

    def begin(self, pixels):
        self.under_way += 1
        self.most = max(self.most, self.under_way)

        def wait():
            self.under_way -= 1
            return pixels[:, 0, 0].astype(np.float32)

        return wait


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_batches_are_begun_ahead_and_no_descriptor_is_lost_or_misplaced(tmp_path, ahead):
    for number in range(23):
        save(tmp_path, f"{number:02d}.png", number, (8, 8) if number % 3 else (8, 6))
    images = list(files.find([str(tmp_path)]).images)
    late = _Late(ahead)
    found = list(describe_stream(images, DecodeRule(8), late, workers=0, batch_size=2))
    now = list(describe_stream(images, DecodeRule(8), _Late(0), workers=0, batch_size=1))
    assert [image.id for image, _ in found] == [image.id for image in images]
    assert all((one.descriptor == other.descriptor).all() for (_, one), (_, other) in zip(found, now, strict=True))
    assert late.most == ahead + 1
    assert late.under_way == 0


def test_a_long_run_tries_both_layouts_and_changes_nothing_but_the_last_bits(monkeypatch):
    layouts = []
    monkeypatch.setattr(describe, "_ENOUGH", 1)
    describer = Describer(MeanColour(), CPU)
    monkeypatch.setattr(describer, "_use", lambda layout: layouts.append(layout))
    describer.expect(1000, 64)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), np.uint8)
    rows = [describer(pixels) for _ in range(6)]
    assert set(layouts) == {torch.channels_last, torch.contiguous_format}
    assert all(row == pytest.approx(rows[0], abs=1e-6) for row in rows)
    assert describer._layouts.winner in layouts
