"""A real Ray cluster of several nodes on this machine, started for each file of tests and ended after."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imgret.engines import remote
from imgret.engines.cluster import import_ray
from imgret.extraction.job import ExtractJob
from tests.engines import workers
from tests.pictures import save

ray = pytest.importorskip("ray", reason="pip install 'imgret[ray]'")
_MEMORY = 100 << 20  # bytes of shared memory for each node


class Nodes:
    """A cluster to which nodes of one processor, and of pretended GPUs, are added and from which they are removed."""

    def __init__(self) -> None:
        import_ray()
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": _MEMORY, "include_dashboard": False},
        )
        self.address: str = self._cluster.address

    def add(self, gpus: int = 0):
        return self._cluster.add_node(num_cpus=1, num_gpus=gpus, object_store_memory=_MEMORY)

    def remove(self, node) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes of one processor each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = Nodes()
        nodes.add()
        try:
            yield nodes
        finally:
            ray.shutdown()
            nodes.close()


@pytest.fixture
def on_ray(nodes, monkeypatch) -> Iterator[dict[str, str]]:
    """What makes a job one for the cluster; its workers know the toy model."""
    monkeypatch.setattr(remote, "Model", workers.ToyModel)
    yield {"engine": "ray", "ray_address": nodes.address}
    ray.shutdown()


@pytest.fixture
def many(job: ExtractJob, tmp_path: Path) -> ExtractJob:
    """Sixty pictures of three sizes, one of them broken, four images a shard."""
    folder = tmp_path / "many"
    for number in range(60):
        save(folder, f"{number % 7}/{number:02d}.png", number, [(64, 48), (40, 60), (48, 48)][number % 3])
    (folder / "3/10.png").write_bytes(b"no picture")
    shutil.copy(folder / "0/00.png", folder / "copy.png")
    return replace(job, images=(str(folder),), shard_size=4, store_dtype="float32", batch_size=3)
