"""Models on a real Ray cluster that come, go, are busy with others, or are not the same."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret import workflows
from imgret.engines import models, remote
from imgret.engines.cluster import connected
from imgret.errors import EngineError
from imgret.store import Store
from tests.engines import workers
from tests.extraction.test_extract import contents, same

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(models, "_LOOK", 0.2)


@pytest.fixture
def gpu_nodes(nodes):
    """Two machines that say that they have a GPU each."""
    two = [nodes.add(gpus=1) for _ in range(2)]
    yield two
    for node in two:
        nodes.remove(node)


def patiently(happened) -> None:
    """Let some time pass between two images, until something has happened."""
    if not happened():
        time.sleep(0.5)


def described_by(job) -> Counter[str]:
    return Counter(workers.signed(job.output).read_text().split())


def test_a_gpu_machine_that_goes_away_leaves_its_batches_to_the_other(
    many, nodes, on_ray, gpu_nodes, tmp_path, monkeypatch
):
    workflows.extract(many)
    monkeypatch.setattr(remote, "Model", workers.SigningModel)
    said: list[str] = []
    gone: list[str] = []

    def progress(done: int, todo: int, failed: int) -> None:
        if not gone:
            patiently(lambda: len(described_by(other)) == 2)
        if not gone and len(described_by(other)) == 2:
            gone.append(gpu_nodes[0].node_id)
            nodes.remove(gpu_nodes.pop(0))

    other = replace(many, output=tmp_path / "ray", device="auto", **on_ray)
    report = workflows.extract(other, progress=progress, say=said.append)
    assert report.added == 60
    assert gone
    assert any("went away; its batches are given to another" in text for text in said)
    assert same(contents(other.output), contents(many.output))


def test_no_gpu_machine_left_is_told_and_what_was_described_is_kept(many, nodes, on_ray, gpu_nodes, monkeypatch):
    monkeypatch.setattr(models, "_PATIENCE", 3.0)
    said: list[str] = []

    def progress(done: int, todo: int, failed: int) -> None:
        if done == 12:
            while gpu_nodes:
                nodes.remove(gpu_nodes.pop())
        if done >= 12:
            time.sleep(0.5)  # workers live on for a moment without their machine

    job = replace(many, device="auto", **on_ray)
    with pytest.raises(EngineError, match="no worker with the model is left, and none came within 3 s; what was"):
        workflows.extract(job, progress=progress, say=said.append)
    assert any("waiting for one, 3 s at most" in text for text in said)
    assert 12 <= Store.open(many.output).count < 60


def test_a_gpu_that_another_holds_is_told_and_taken_when_it_is_free(many, on_ray, nodes, gpu_nodes, monkeypatch):
    monkeypatch.setattr(models, "_TELL", 1.0)
    monkeypatch.setattr(remote, "Model", workers.SigningModel)
    said: list[str] = []
    with connected(nodes.address, 1) as cluster:
        ray = cluster.ray

        class Other:
            def here(self) -> None: ...

        holders = [ray.remote(num_gpus=1)(Other).remote() for _ in range(2)]
        ray.get([holder.here.remote() for holder in holders])

        def say(text: str) -> None:
            said.append(text)
            if "waiting for 1 GPU" in text or "1 GPU(s), which others hold, are taken" in text:
                ray.kill(holders.pop())

        def progress(done: int, todo: int, failed: int) -> None:
            patiently(lambda: len(described_by(many)) == 2)

        report = workflows.extract(replace(many, device="auto", **on_ray), progress=progress, say=say)
    assert report.added == 60
    assert "Still waiting for 1 GPU(s), which others hold; Ctrl-C ends it." in said
    assert "Describing with 1; 1 GPU(s), which others hold, are taken as they come." in said
    assert len(described_by(many)) == 2


def test_a_machine_that_joins_describes_too(many, nodes, on_ray, tmp_path, monkeypatch):
    workflows.extract(many)
    monkeypatch.setattr(remote, "Model", workers.SigningModel)
    joined: list = []

    def progress(done: int, todo: int, failed: int) -> None:
        if done == 3:
            joined.append(nodes.add())
        if done > 3:
            patiently(lambda: described_by(other)[joined[0].node_id])

    other = replace(many, output=tmp_path / "ray", **on_ray)
    try:
        report = workflows.extract(other, progress=progress)
        assert (report.added, described_by(other)[joined[0].node_id] > 0) == (60, True)
        assert same(contents(other.output), contents(many.output))
    finally:
        nodes.remove(joined[0])


def test_a_model_that_is_another_one_is_not_used(many, on_ray, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "Model", workers.StrangeModel)
    said: list[str] = []
    job = replace(many, **on_ray)

    def progress(done: int, todo: int, failed: int) -> None:
        patiently(lambda: any("is not used" in text for text in said))

    assert workflows.extract(job, progress=progress, say=said.append).added == 60
    assert any(text.endswith("is not used: its precision is bf16, that of the first one fp32") for text in said)
    assert len(described_by(job)) == 1


def test_a_batch_that_ends_every_model_ends_the_run_and_what_was_described_is_kept(many, on_ray, monkeypatch):
    monkeypatch.setattr(remote, "Model", workers.MortalModel)
    monkeypatch.setattr(models, "_TRIES", 2)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(Path(many.images[0]) / "5/black.png")
    with pytest.raises(
        EngineError, match="describing the same . images failed 2 times: its worker went away .The actor"
    ):
        workflows.extract(replace(many, **on_ray))
    assert 20 <= Store.open(many.output).count < 60


def test_a_model_that_ends_each_worker_that_loads_it_is_told(many, on_ray, monkeypatch):
    monkeypatch.setattr(remote, "Model", workers.UnloadableModel)
    monkeypatch.setattr(models, "_TRIES", 2)
    with pytest.raises(
        EngineError, match="loading the model failed 2 times, the last time: its worker went away .The actor"
    ):
        workflows.extract(replace(many, **on_ray))


def test_a_machine_where_the_model_cannot_be_loaded_leaves_it_to_another(many, on_ray, monkeypatch):
    monkeypatch.setattr(remote, "Model", workers.UnloadableHereModel)
    assert workflows.extract(replace(many, **on_ray)).added == 60


def test_an_image_that_was_decoded_again_from_another_content_ends_the_run(many, on_ray, monkeypatch):
    monkeypatch.setattr(remote, "decode_some", workers.decode_changed)
    with pytest.raises(EngineError, match="an image changed while it was described; run the same again"):
        workflows.extract(replace(many, **on_ray))
