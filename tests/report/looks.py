"""Looks for the tests of pages and sheets, without a model."""

from collections import namedtuple

import numpy as np

from tests.pictures import textured

Look = namedtuple("Look", "id pixels views words places seen")


def a_look(name="a.jpg", size=(96, 64), views=None, words=None, seen=None):
    """A drawn photograph of a size (width, height) with its views."""
    views = {"local": np.array([[1.0, 3.0]]), "pooled": np.array([[1.0, 1.0]])} if views is None else views
    return Look(name, np.asarray(textured(2, *size)), views, words or {}, {}, seen or size[::-1])
