"""What stands in for the workers' code in tests: the toy model, and decoding that is slow or ends its process."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

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
