"""Extraction on a real Ray cluster: the same store, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from imgret import workflows
from imgret.engines import decoding, remote
from imgret.errors import EngineError, WeightsError
from imgret.store import Store
from tests.engines import workers
from tests.extraction.test_extract import contents, same

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def of_ray(name: str) -> list[int]:
    """Processes of Ray's workers that do `name` now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::") and name.encode() in title:
                found.append(int(entry.name))
    return found


def test_a_store_made_on_ray_is_the_local_one_bit_for_bit(many, on_ray, tmp_path):
    report = workflows.extract(many)
    other = replace(many, output=tmp_path / "ray", **on_ray)
    found = workflows.extract(other)
    assert (
        (found.added, found.failures, found.total)
        == (report.added, report.failures, report.total)
        == (60, {"unreadable": 1}, 60)
    )
    assert same(contents(other.output), contents(many.output))
    shards = [Store.open(job.output).shards for job in (many, other)]
    assert [entry.count for entry in shards[0]] == [entry.count for entry in shards[1]]
    assert (other.output / "failures.csv").read_text() == (many.output / "failures.csv").read_text()
    assert workflows.extract(other).kept == 60
    one = replace(other, output=tmp_path / "one", workers=1)
    workflows.extract(one)
    assert same(contents(one.output), contents(many.output))


@pytest.mark.slow
def test_what_is_new_is_added_by_either_engine(many, on_ray, photos, tmp_path):
    workflows.extract(replace(many, images=(str(photos / "a"),), **on_ray))
    both = replace(many, images=(str(photos / "a"), str(photos / "b")))
    assert (workflows.extract(both).kept, len(contents(many.output))) == (3, 6)
    assert workflows.extract(replace(both, **on_ray)).to_do == 0


@pytest.mark.slow
def test_an_image_that_ends_its_worker_fails_alone(many, on_ray, monkeypatch):
    monkeypatch.setattr(remote, "decode_some", workers.decode_or_die)
    monkeypatch.setattr(decoding, "_RETRIES", 1)
    (Path(many.images[0]) / "2/deadly.png").write_bytes(workers.DEADLY)
    report = workflows.extract(replace(many, **on_ray))
    assert (report.added, report.failures["unreadable"]) == (60, 2)
    assert "ended the worker process" in (many.output / "failures.csv").read_text()
    monkeypatch.setattr(remote, "decode_some", workers.original)
    workflows.extract(replace(many, **on_ray))  # it may have been another's doing
    assert "ended the worker process" not in (many.output / "failures.csv").read_text()


def test_another_version_of_imgret_on_a_machine_is_told(many, on_ray, monkeypatch):
    monkeypatch.setattr("imgret.__version__", "99.0")
    with pytest.raises(EngineError, match=r"has imgret .*this command is 99\.0; install the same version"):
        workflows.extract(replace(many, **on_ray))


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_images_is_told_and_no_image_fails(many, on_ray, monkeypatch):
    monkeypatch.setattr(remote, "decode_some", workers.decode_elsewhere)
    with pytest.raises(EngineError, match=r"does not see .*\.png, this machine does; mount"):
        workflows.extract(replace(many, **on_ray))
    assert not Store.open(many.output).count


@pytest.mark.slow
def test_a_weights_file_that_a_machine_lacks_is_told(many, on_ray, tmp_path, monkeypatch):
    workflows.extract(replace(many, images=many.images[:1], **on_ray))
    monkeypatch.setattr(remote, "Model", workers.ModelElsewhere)
    (Path(many.images[0]) / "new.png").write_bytes((Path(many.images[0]) / "copy.png").read_bytes())
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors.* not there"):
        workflows.extract(replace(many, **on_ray))


@pytest.mark.slow
def test_workers_killed_again_and_again_change_nothing(many, on_ray, tmp_path, monkeypatch):
    workflows.extract(many)
    monkeypatch.setattr(remote, "decode_some", workers.decode_slowly)
    killed = []

    def progress(done: int, todo: int, failed: int) -> None:
        if done in (5, 14, 23, 40):
            kind = "ToyModel" if len(killed) % 2 else "decode_slowly"
            for victim in of_ray(kind)[:1]:
                os.kill(victim, signal.SIGKILL)
                killed.append(kind)

    other = replace(many, output=tmp_path / "ray", **on_ray)
    report = workflows.extract(other, progress=progress)
    assert set(killed) == {"ToyModel", "decode_slowly"}
    assert report.added == 60
    assert same(contents(other.output), contents(many.output))


@pytest.mark.slow
def test_a_node_that_goes_and_one_that_comes_change_nothing(many, nodes, on_ray, tmp_path, monkeypatch):
    workflows.extract(many)
    monkeypatch.setattr(remote, "decode_some", workers.decode_slowly)
    going = nodes.add()
    moments = iter([lambda: nodes.remove(going), nodes.add])

    def progress(done: int, todo: int, failed: int) -> None:
        if done in (9, 25):
            next(moments)()

    other = replace(many, output=tmp_path / "ray", **on_ray)
    report = workflows.extract(other, progress=progress)
    assert next(moments, None) is None
    assert report.added == 60
    assert same(contents(other.output), contents(many.output))


_DRIVER = """
import sys
from pathlib import Path
from imgret import workflows
from imgret.engines import remote
from imgret.extraction.job import ExtractJob
from tests.engines import workers
remote.Model, remote.decode_some = workers.ToyModel, workers.decode_slowly
job = ExtractJob(images=(sys.argv[1],), output=Path(sys.argv[2]), model="mean-colour", weights="none",
    precision="fp32", image_size=64, device="cpu", shard_size=4, store_dtype="float32", batch_size=3,
    engine="ray", ray_address=sys.argv[3])
workflows.extract(job, progress=lambda done, todo, failed: print(done, flush=True))
"""


@pytest.mark.slow
def test_a_driver_killed_and_started_again_ends_with_the_same_store(many, nodes, tmp_path):
    workflows.extract(many)
    output = tmp_path / "ray"
    kills = 0
    for stop_after in (8, 20, None):
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _DRIVER, many.images[0], str(output), nodes.address],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        with child.stdout as lines:
            for count, _ in enumerate(lines, 1):
                if count == stop_after:
                    child.kill()
        kills += child.wait() == -signal.SIGKILL
    assert (kills, child.returncode) == (2, 0)
    assert same(contents(output), contents(many.output))
    assert Store.open(output).count == sum(entry.count for entry in Store.open(output).shards) == 60
