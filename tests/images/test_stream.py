from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgret.images import files
from imgret.images.batches import SizeBatches
from imgret.images.decode import Decoded, DecodeRule, Undecodable
from imgret.images.stream import decode_stream
from tests.pictures import save


def decoded(height: int, width: int) -> Decoded:
    return Decoded(np.zeros((height, width, 3), np.uint8), width, height, 1, b"")


def test_batches_hold_one_size_and_every_image_once():
    batches = SizeBatches(batch_size=3, limit=100)
    out = []
    for key in range(10):
        out += batches.add(key, decoded(4, 4 + key % 2))
    out += batches.flush()
    assert sorted(key for keys, _ in out for key in keys) == list(range(10))
    assert all(len(group) == len(keys) and len({one.size for one in group}) == 1 for keys, group in out)
    assert all(len({key % 2 for key in keys}) == 1 for keys, _ in out)


def test_a_lone_size_is_never_held_up_for_long():
    batches = SizeBatches(batch_size=4, limit=6)
    out = list(batches.add(0, decoded(9, 9)))
    for key in range(1, 40):
        out += [keys for keys, _ in batches.add(key, decoded(1, key))]
        if [0] in out:
            break
    assert key <= 6


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order_and_failures_stand_in_their_place(tmp_path, workers):
    for number in range(30):
        if number % 7 == 3:
            (tmp_path / f"{number:02d}.png").write_bytes(b"broken")
        else:
            save(tmp_path, f"{number:02d}.png", number, (40, 20 + number))
    images = files.find([str(tmp_path)]).images
    found = list(decode_stream(images, DecodeRule(64), workers=workers, window=5))
    assert [image.id for image, _ in found] == [f"{number:02d}.png" for number in range(30)]
    for number, (_, result) in enumerate(found):
        if number % 7 == 3:
            assert isinstance(result, Undecodable)
        else:
            assert result.pixels.shape == (20 + number, 40, 3)


def test_memory_is_bounded_by_the_window(tmp_path):
    path = save(tmp_path, "a.png", 1)
    (image,) = files.find([str(path)]).images
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield image

    stream = decode_stream(endless(), DecodeRule(64), workers=1, window=10)
    for _, _result in zip(range(20), stream, strict=False):
        pass
    stream.close()
    assert taken <= 20 + 10 + 6


class Deadly(str):
    """A path that ends the process which unpickles it, as a crash inside a codec would."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_file_that_kills_its_worker_is_unreadable_and_the_rest_goes_on(tmp_path):
    for number in range(12):
        save(tmp_path, f"{number:02d}.png", number)
    images = list(files.find([str(tmp_path)]).images)
    images.insert(6, files.ImageFile("deadly.png", Deadly("deadly.png"), str(tmp_path), 1, 0))
    found = list(decode_stream(images, DecodeRule(64), workers=2, window=4))
    assert [image.id for image, _ in found] == [image.id for image in images]
    assert found[6][1].reason == "unreadable"
    assert "ended the worker" in found[6][1].message
    assert all(isinstance(result, Decoded) for number, (_, result) in enumerate(found) if number != 6)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
def test_workers_end_when_their_main_process_is_killed(tmp_path):
    save(tmp_path, "a.png", 1)
    script = tmp_path / "script.py"
    script.write_text(
        "import itertools, os, signal, sys, time\n"
        "from imgret.images import files\n"
        "from imgret.images.decode import DecodeRule\n"
        "from imgret.images.stream import decode_stream\n"
        "if __name__ == '__main__':\n"
        "    (image,) = files.find([sys.argv[1]]).images\n"
        "    stream = decode_stream(itertools.repeat(image), DecodeRule(64), workers=2, window=4)\n"
        "    next(stream)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "IMGRET_TEST_MARK": str(tmp_path)}
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "a.png")], env=environment, timeout=60)
    assert done.returncode == -9
    deadline = time.time() + 10
    while (left := _marked(str(tmp_path))) and time.time() < deadline:
        time.sleep(0.1)
    assert left == []


def _marked(mark: str) -> list[int]:
    """Processes that carry the mark in their environment and are not zombies."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and mark.encode() in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(int(entry))
        except OSError:
            continue
    return found
