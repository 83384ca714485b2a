"""What stands in for the workers' code in tests: the toy model, and decoding that is slow or ends its process."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from imgret.engines import remote
from imgret.models import MODELS
from tests.toy import MEAN_COLOUR

original = remote.decode_some
DEADLY = b"kill the worker"


class ToyModel(remote.Model):
    """Knows the model that is called mean-colour."""

    def __init__(self, *arguments):
        MODELS["mean-colour"] = MEAN_COLOUR
        super().__init__(*arguments)


def decode_slowly(images, rule, version):
    """A tenth of a second for each image."""
    time.sleep(0.1 * len(images))
    return original(images, rule, version)


def decode_changed(images, rule, version):
    """As if the content of what was decoded again had changed meanwhile."""
    answers, chunk = original(images, rule, version)
    return [answers, [one._replace(sha256=b"other") for one in chunk]]


def decode_or_die(images, rule, version):
    """A file that holds DEADLY ends the process, as a crash inside a codec would."""
    for image in images:
        with open(image.path, "rb") as file:
            if file.read(len(DEADLY)) == DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)
    return original(images, rule, version)


def decode_elsewhere(images, rule, version):
    """On a machine without the images."""
    return original([replace(image, path="/nowhere" + image.path) for image in images], rule, version)


class ModelElsewhere(ToyModel):
    """On a machine without the weights."""

    def __init__(self, job, recipe, origin, weights, threads, version):
        made_with = {**recipe["weights"], "source": "file"}
        super().__init__(job, {**recipe, "weights": made_with}, origin, "/nowhere.safetensors", threads, version)


class SigningModel(ToyModel):
    """Writes its machine's number, once for each row, beside the store; a batch takes a fifth of a second."""

    def describe(self, wanted, *chunks):
        import ray

        time.sleep(0.2)
        rows = super().describe(wanted, *chunks)
        with open(signed(self._asked[0].output), "a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()}\n" * len(rows))
        return rows


def signed(output) -> Path:
    """What the signing models write down."""
    return Path(f"{output}-described-by")


class StrangeModel(SigningModel):
    """Of those that describe, all but the first that loads are another model."""

    def load(self):
        facts = super().load()
        if self._asked[1] is None:
            return facts
        try:
            Path(f"{self._asked[0].output}-first").touch(exist_ok=False)
        except FileExistsError:
            return replace(facts, precision="bf16")
        return facts


class MortalModel(ToyModel):
    """Ends with its process over a batch that has a black picture."""

    def describe(self, wanted, *chunks):
        if any(not chunks[one.chunk][one.place].pixels.any() for one in wanted):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().describe(wanted, *chunks)


class UnloadableModel(ToyModel):
    """Ends with its process as it is loaded."""

    def load(self):
        os.kill(os.getpid(), signal.SIGKILL)


class UnloadableHereModel(ToyModel):
    """Ends with its process as it is loaded on the machine where that was done first."""

    def load(self):
        import ray

        here, first = ray.get_runtime_context().get_node_id(), Path(f"{self._asked[0].output}-first")
        if not first.exists():
            first.write_text(here)
        if first.read_text() == here:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load()
