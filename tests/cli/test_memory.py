"""Searching and scoring what is larger than the memory that they may have."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from imgret.indexes.build import build
from tests.indexes.conftest import names, write_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere RLIMIT_DATA limits no mappings"),
]

COUNT, DIM = 160_000, 768  # 491.5 MB in float32
CAP = 400_000_000  # of which 210 MB go to libraries that are loaded, and the rest of an address space they reserve

RECIPE = {
    "model": "random clusters",
    "backbone": None,
    "weights": {"source": "none", "sha256": "0"},
    "image_size": 0,
    "scales": [1],
    "exif": "apply",
    "decode": "exact",
    "precision": "fp32",
    "store_dtype": "float32",
}

_RUN = """
import resource, sys
cap = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
sys.argv = ["imgret", *sys.argv[2:]]
from imgret.cli.app import main
main()
"""


def run(*arguments: str, cap: int, cwd, code: int = 0) -> str:
    # more threads reserve more, whether they use it or not
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _RUN, str(cap), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store of four shards and indexes of it; 30 images of it are queries, and each is its only positive."""
    place = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, DIM), np.float32)
    parts = []
    for shard in range(4):
        rows = np.repeat(centres, COUNT // 800, 0)
        rows += 0.5 * rng.standard_normal((COUNT // 4, 1), np.float32) * np.roll(rows, shard + 1, 1)
        rows += 0.1 * rng.standard_normal(DIM, np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        parts.append((names(COUNT // 4, f"shard-{shard}"), rows))
    store = write_store(place / "store", parts, RECIPE)
    some = [(part, row) for part in range(4) for row in range(0, COUNT // 4, 5000)]
    asked = [parts[part][0][row] for part, row in some]
    write_store(place / "asked", [(asked, np.stack([parts[part][1][row] for part, row in some]))], RECIPE)
    positives = [f"{one} {parts[(part + 1) % 4][0][row]}" for one, (part, row) in zip(asked, some, strict=True)]
    (place / "pairs.txt").write_text("\n".join(positives))
    for name, factory in (("flat", "Flat"), ("ivf", "IVF64,Flat")):
        build([store], place / name, factory=factory, verify=False)
    return place


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "store", "asked", "--exact"),
        ("search", "store", "asked", "--exact", "-k", "1000"),
        ("search", "flat", "asked"),
        ("search", "flat", "asked", "--exact"),
        ("search", "ivf", "asked"),
        ("search", "ivf", "asked", "--exact"),
        ("eval", "pairs.txt", "--queries", "asked", "--store", "store", "--json"),
        ("eval", "pairs.txt", "--queries", "asked", "--store", "store", "--json", "--depth", "100"),
        ("eval", "pairs.txt", "--queries", "asked", "--index", "flat", "--json"),
        ("eval", "pairs.txt", "--queries", "asked", "--index", "ivf", "--json"),
        ("eval", "pairs.txt", "--index", "ivf", "--json", "--rerank", "aqe", "--depth", "100"),
    ],
    ids=" ".join,
)
def test_what_is_larger_than_memory_is_searched_and_scored_as_with_enough(place, arguments):
    sizes = [sum(file.stat().st_size for file in (place / name).iterdir()) for name in ("store", "flat", "ivf")]
    assert min(sizes) > 1.2 * CAP
    assert run(*arguments, cap=CAP, cwd=place) == run(*arguments, cap=1 << 40, cwd=place)
