"""How loading ends when a process is killed: proofs that need processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgret.errors import ImgretError
from imgret.images.files import find
from imgret.training.batches.loading import load
from imgret.training.batches.plans import FixedSize
from tests.pictures import save

pytestmark = pytest.mark.slow

ENDLESS = """
import itertools, multiprocessing, sys
import numpy as np
from imgret.images.files import find
from imgret.training.batches.loading import load
from imgret.training.batches.plans import FixedSize
if __name__ == "__main__":
    images = find([sys.argv[1]]).images
    epochs = (FixedSize(4, 2, 32).batches(epoch) for epoch in itertools.count())
    for batch in load(images, np.zeros(4), itertools.chain.from_iterable(epochs), "soft", workers=2):
        if batch.number == 3:
            print(*[worker.pid for worker in multiprocessing.active_children()], flush=True)
"""


def test_workers_end_when_the_main_process_is_killed(tmp_path):
    for number in range(4):
        save(tmp_path / "photos", f"{number}.png", number)
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    # not through a pipe for stderr: the tracker of shared memory talks there after the end
    command = [sys.executable, str(script), str(tmp_path / "photos")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **root}
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while left := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"workers {left} outlive the main process"
        time.sleep(0.1)


def test_a_worker_that_dies_is_one_clear_line(tmp_path):
    for number in range(4):
        save(tmp_path, f"{number}.png", number)
    images = find([str(tmp_path)]).images
    epochs = [batch for epoch in range(500) for batch in FixedSize(4, 2, 32).batches(epoch)]
    batches = load(images, np.zeros(4), epochs, "soft", workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(ImgretError, match="a process that loads images has died"):
        list(batches)
