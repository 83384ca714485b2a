"""Placing: where models go in a cluster, as machines come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imgret.engines.cluster import Cluster
from imgret.errors import EngineError
from imgret.extraction.job import ExtractJob


@dataclass(frozen=True)
class Place:
    """Room for a model: a machine by `name`, or any GPU, without a name.

    options  of Ray
    threads  of torch
    """

    name: str
    options: dict[str, Any]
    threads: int


class Placing:
    """With GPUs, as many models as have room for `gpus_per_worker` each; else one a machine, with all its processors.

    EngineError where there is no room for one.
    """

    def __init__(self, cluster: Cluster, job: ExtractJob) -> None:
        self._cluster = cluster
        self._share = job.gpus_per_worker
        self.gpus = job.device != "cpu" and cluster.count("GPU") > 0
        if self.gpus and self._share > 1 and self._share != int(self._share):
            raise EngineError(f"--gpus-per-worker {self._share:g}: above 1 it must be a whole number")
        if not self.gpus and job.device not in ("auto", "cpu"):
            raise EngineError(f"the cluster has no GPU for --device {job.device}; use --device cpu")
        if not self.places():
            if self.gpus:
                raise EngineError(f"no machine of the cluster has {self._share:g} GPUs; give --gpus-per-worker less")
            raise EngineError("the cluster has no machine with processors or GPUs; add one with `ray start --address`")

    def places(self) -> list[Place]:
        """Those of the machines that are up now."""
        if self.gpus:
            whole = [int(node["Resources"].get("GPU", 0)) for node in self._cluster.nodes()]
            # Ray gives a share of one GPU, never of two.
            each = (n // int(self._share) if self._share > 1 else n * int(1 / self._share + 1e-9) for n in whole)
            return [Place("", {"num_gpus": self._share}, 1)] * sum(each)
        return [
            Place(node["NodeID"], {"scheduling_strategy": self._cluster.on(node, only=True)}, int(count))
            for node in self._cluster.nodes()
            if (count := node["Resources"].get("CPU", 0)) >= 1
        ]

    def missing(self, taken: list[Place]) -> list[Place]:
        """Places where there is no model yet."""
        if self.gpus:
            return self.places()[len(taken) :]
        names = {place.name for place in taken}
        return [place for place in self.places() if place.name not in names]

    def amount(self, models: int) -> str:
        """The GPUs that so many models want, in words."""
        return f"{models * self._share:g} GPU(s)"
