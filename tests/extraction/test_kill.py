"""Kill -9 at random moments: the finished store must equal one that was never disturbed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from imgret import workflows
from imgret.store import Store
from imgret.workflows import inspect
from tests.extraction.test_extract import contents, same
from tests.pictures import save

_CHILD = """
import sys, time
from imgret.models import MODELS
from imgret import workflows
from imgret.extraction.job import ExtractJob
from tests.toy import MEAN_COLOUR
MODELS["mean-colour"] = MEAN_COLOUR

def slowly(done, total, failed):
    print(done, flush=True)
    time.sleep(0.02)

workflows.extract(ExtractJob(images=(sys.argv[1],), output=sys.argv[2], model="mean-colour", weights="none",
    workers=2, precision="fp32", image_size=64, device="cpu", shard_size=4, batch_size=2), progress=slowly)
"""


def run_and_kill(photos: Path, store: Path, moment: float) -> bool:
    """Start an extraction and kill it `moment` seconds after its first image; whether it was still running."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _CHILD.replace("sys.argv[2]", "__import__('pathlib').Path(sys.argv[2])"),
            str(photos),
            str(store),
        ],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(moment)
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    return child.wait() == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_a_store_killed_at_random_moments_equals_an_undisturbed_one(job, tmp_path, kills):
    photos = tmp_path / "many"
    for number in range(40 * (1 + kills // 3)):
        if number % 9 == 4:
            save(photos, f"{number:04d}.png", number).write_bytes(b"\xff\xd8\xff cut short")
        else:
            save(photos, f"{number:04d}.png", number, (32 + 8 * (number % 3), 32))
    random.seed(kills)
    store = tmp_path / "killed"
    killed = sum(run_and_kill(photos, store, random.uniform(0, 0.6)) for _ in range(kills))
    assert killed > 0
    calm = replace(job, images=(str(photos),), shard_size=4)
    workflows.extract(replace(calm, output=store))
    workflows.extract(replace(calm, output=tmp_path / "calm"))
    assert same(contents(store), contents(tmp_path / "calm"))
    assert list(contents(store)) == list(contents(tmp_path / "calm"))
    assert inspect(store).problems == []
    assert not list(store.glob("*.partial"))
    failed = [(path / "failures.csv").read_text() for path in (store, tmp_path / "calm")]
    assert sorted(failed[0].splitlines()) == sorted(failed[1].splitlines())
    assert Store.open(store).count == len(contents(store))
