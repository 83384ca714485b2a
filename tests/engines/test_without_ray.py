"""Models and decoding on a cluster that is made up, so that machines come and go to the moment."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from imgret.engines import decoding, models
from imgret.engines.cluster import ActorLostError
from imgret.engines.decoding import Decoder
from imgret.engines.models import Models
from imgret.engines.remote import Facts
from imgret.errors import EngineError
from imgret.extraction.job import ExtractJob
from imgret.images.decode import DecodeRule
from imgret.images.files import ImageFile

FACTS = Facts({"weights": "w"}, {}, 8, 64, "fp32", True, "cpu", [])


class MadeUp:
    """A cluster of machines with so many GPUs each; every actor's `load` gives, once it is decided, what it is told to.

    actors  those started, in order: a dict with "load", which is missing while it loads
    """

    def __init__(self, *gpus: int, cpus: int = 4) -> None:
        self.machines = {f"machine-{number}": count for number, count in enumerate(gpus)}
        self.cpus = cpus
        self.actors: list[dict] = []
        self.killed: list[dict] = []
        self.ray = SimpleNamespace(remote=lambda **ways: lambda what: self, kill=self.killed.append)

    def options(self, **ways):
        return self

    def remote(self, *arguments):
        actor = Actor(machine=(0, "a machine"))
        self.actors.append(actor)
        return actor

    def nodes(self):
        return [{"NodeID": name, "Resources": {"GPU": gpus, "CPU": 4}} for name, gpus in self.machines.items()]

    def count(self, resource):
        return float(self.cpus if resource == "CPU" else sum(self.machines.values()))

    def finished(self, refs, within=0):
        return [ref for ref in refs if ref[1] in ref[0]]

    def get(self, ref):
        answer = ref[0][ref[1]]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def some_unfinished(self, refs, within=None):
        return refs


class Actor(dict):
    """What it answers by the name of the call; equal to itself alone, as a reference is."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *arguments: (self, name))


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(models, "_LOOK", 0.0)


def started(cluster) -> Models:
    """Models of which the first has loaded."""
    found = Models(cluster, ExtractJob((), "store"), {}, {}, None)
    cluster.actors[0]["load"] = FACTS
    found.facts(print)
    return found


def test_a_machine_without_imgret_that_joins_is_told_and_the_run_goes_on(at_once):
    cluster = MadeUp(1)
    found, said = started(cluster), []
    found._say = said.append
    cluster.machines["machine-1"] = 1
    found._look()
    broken = EngineError("imgret is not installed on its machine")
    cluster.actors[1].update(machine=broken, load=broken)
    found._look()
    assert said == ["The model of a machine is not used: imgret is not installed on its machine"]
    assert len(found._ready) == 1


def test_gpus_that_went_away_together_while_they_loaded_do_not_keep_later_ones_out(at_once):
    cluster = MadeUp(1, 4)
    found = started(cluster)
    assert len(cluster.actors) == 5
    del cluster.machines["machine-1"]
    for actor in cluster.actors[1:]:
        actor["load"] = ActorLostError("its machine went away")
    found._look()
    cluster.machines["machine-2"] = 2
    found._look()
    assert len(found._coming) == 2


def test_models_that_fall_while_machines_stay_are_started_three_times_and_no_more(at_once):
    cluster = MadeUp(2)
    found = started(cluster)
    for _ in range(9):
        for model in found._coming:
            model.actor["load"] = ActorLostError("its worker went away")
        found._look()
    assert len(cluster.actors) == 1 + 3
    assert len(found._ready) == 1


def test_a_model_that_was_refused_does_not_keep_the_place_of_a_machine_that_left(at_once):
    cluster = MadeUp(1, 1)
    found = started(cluster)
    cluster.actors[1]["load"] = replace(FACTS, precision="bf16")
    found._look()
    assert (len(found._ready), len(found._refused), len(cluster.actors)) == (1, 1, 2)
    del cluster.machines["machine-1"]
    cluster.machines["machine-2"] = 1
    found._look()
    assert (len(found._refused), len(found._coming)) == (0, 1)
    assert cluster.killed == [cluster.actors[1]]


def test_a_cluster_without_a_processor_ends_the_run_in_words(monkeypatch):
    monkeypatch.setattr(decoding, "_PATIENCE", 0.0)
    cluster = MadeUp(1, cpus=0)
    cluster.ray.remote = lambda **ways: lambda what: SimpleNamespace(remote=lambda *arguments: [object(), object()])
    decoder = Decoder(cluster, DecodeRule(64), None, 1)
    with pytest.raises(EngineError, match="no machine of the cluster had a processor to decode on"):
        list(decoder(iter([ImageFile("a.jpg", "a.jpg", "/", 1, 1)]), lambda seconds: None))
