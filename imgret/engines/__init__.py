"""Engines: one machine, or many on Ray. The same job, files and results, wherever images are decoded and described."""

from __future__ import annotations

ENGINES = {"local": "this machine", "ray": "a Ray cluster, or this machine as one"}
"""Names of `--engine` and what they stand for."""
